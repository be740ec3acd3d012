// SPDX-License-Identifier: Apache-2.0
// Finding text files, checking them, and cutting them into blocks.
#include "core/load/corpus_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <set>

#include "core/load/json_text.h"
#include "core/load/sha256.h"
#include "core/load/text.h"
#include "core/load/unicode.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlockBytes = 64 << 10, kLongestBlock = 96 << 10, kLongestLine = 16 << 20;
constexpr size_t kMaxFiles = 1000000;
constexpr int kMaxDepth = 64;

std::string extension(const fs::path& path) {
  std::string e = path.extension().string();
  for (char& c : e)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return e;
}

bool is_text_name(const std::string& e) { return e == ".txt" || e == ".md" || e == ".jsonl"; }

[[noreturn]] void unreadable(const fs::path& path, const std::string& why) {
  refuse_file(path.string(), "", why, "Check the path and its permissions.");
}

void add_file(const fs::path& path, std::vector<CorpusFile>& files) {
  std::error_code error;
  CorpusFile file{
      path, extension(path) == ".jsonl", static_cast<int64_t>(fs::file_size(path, error)), {}};
  if (!error) file.written = fs::last_write_time(path, error);
  if (error) unreadable(path, "cannot be read: " + error.message());
  if (files.size() >= kMaxFiles)
    refuse_file(path.string(), "", fmt::format("more than {} files", kMaxFiles));
  files.push_back(std::move(file));
}

// seen: folders visited, by their real path, so that links cannot lead in circles.
void walk(const fs::path& folder, int depth, std::set<fs::path>& seen,
          std::vector<CorpusFile>& files) {
  std::error_code error;
  const fs::path real = fs::canonical(folder, error);
  if (error) unreadable(folder, "cannot be read: " + error.message());
  if (!seen.insert(real).second || depth > kMaxDepth) return;
  std::vector<fs::path> entries;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    entries.push_back(it->path());
  if (error) unreadable(folder, "cannot be read: " + error.message());
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.native() < b.native(); });
  for (const auto& entry : entries) {
    const auto status = fs::status(entry, error);  // follows links; a broken one is skipped
    if (fs::is_directory(status)) {
      walk(entry, depth + 1, seen, files);
    } else if (fs::is_regular_file(status) && is_text_name(extension(entry))) {
      add_file(entry, files);
    }
  }
}

bool graphic(char c) { return c > ' ' && c < 0x7F; }
bool blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// Where to end a block of `text` (longer than kLongestBlock): behind a line end between two
// printing characters, where no token of our pre-tokenizers spans; else behind any line end; else
// before a blank; else between two characters.
size_t block_end(std::string_view text) {
  auto first = [&](auto fits) -> size_t {
    for (size_t at = kBlockBytes; at < kLongestBlock; ++at)
      if (fits(at)) return at;
    return 0;
  };
  size_t at = first([&](size_t i) {
    if (text[i - 1] != '\n' || !graphic(text[i])) return false;
    const size_t before = text[i - 2] == '\r' ? i - 3 : i - 2;
    return !blank(text[before]);
  });
  if (!at) at = first([&](size_t i) { return text[i - 1] == '\n'; });
  if (!at) at = first([&](size_t i) { return text[i] == ' ' && !blank(text[i - 1]); });
  if (!at) at = utf8_prefix(text, kLongestBlock);
  return text[at - 1] == '\r' && text[at] == '\n' ? at - 1 : at;
}

// The text of one line of .jsonl; empty for a blank line.
std::string line_text(std::string_view line, const fs::path& file, int64_t number) {
  while (!line.empty() && blank(line.back())) line.remove_suffix(1);
  if (line.empty()) return {};
  const std::string where = fmt::format("{} line {}", file.string(), number);
  std::string repaired;
  if (!is_valid_utf8(line)) {
    repaired = to_valid_utf8(line);
    line = repaired;
  }
  const auto value = parse_json(line, where, {.bytes = kLongestLine * 3, .unique_keys = false});
  if (!value.is_object() || !value.contains("text") || !value["text"].is_string())
    refuse_file(where, "", "expected an object with a \"text\"",
                "Each line of .jsonl is one JSON object.");
  return value["text"].get<std::string>();
}

class Indexer {
 public:
  Indexer(CorpusIndex& index, uint32_t number, Sha256& hash)
      : index_(index), file_(index.files[number]), number_(number), hash_(hash) {}

  void run() {
    std::ifstream in(file_.path, std::ios::binary);
    if (!in) unreadable(file_.path, "cannot be opened");
    std::string part(size_t{1} << 20, '\0');
    bool first = true;
    while (in) {
      in.read(part.data(), static_cast<std::streamsize>(part.size()));
      std::string_view got(part.data(), static_cast<size_t>(in.gcount()));
      hash_.update(got);
      total_ += static_cast<int64_t>(got.size());
      if (first) {
        first = false;
        if (got.starts_with("\xFF\xFE") || got.starts_with("\xFE\xFF"))
          refuse_file(file_.path.string(), "", "UTF-16 text is not supported",
                      "Convert it to UTF-8.");
        if (got.starts_with("\xEF\xBB\xBF")) {
          got.remove_prefix(3);
          offset_ = 3;
        }
      }
      if (got.find('\0') != std::string_view::npos)
        refuse_file(file_.path.string(), "", "holds zero bytes, so it is no text",
                    "Text files (.txt, .md) and .jsonl are supported.");
      rest_ += got;
      file_.lines ? take_lines(false) : take_text(false);
    }
    if (in.bad()) unreadable(file_.path, "cannot be read to its end");
    file_.lines ? take_lines(true) : take_text(true);
    if (total_ != file_.bytes) refuse_file(file_.path.string(), "", "changed while it was read");
    index_.bytes += total_;
  }

 private:
  void block(size_t bytes, bool ends_document) {
    index_.blocks.push_back({number_, offset_, static_cast<int64_t>(bytes), line_, ends_document});
    offset_ += static_cast<int64_t>(bytes);
    any_ = true;
  }

  void take_text(bool end) {
    size_t at = 0;
    while (rest_.size() - at > kLongestBlock) {
      const size_t bytes = block_end(std::string_view(rest_).substr(at));
      block(bytes, false);
      at += bytes;
    }
    rest_.erase(0, at);
    if (!end) return;
    if (!rest_.empty()) {
      block(rest_.size(), true);
    } else if (any_) {
      index_.blocks.back().ends_document = true;
    }
  }

  void take_lines(bool end) {
    size_t at = 0;
    for (;;) {
      size_t stop = rest_.find('\n', scanned_);
      if (stop == std::string::npos) {
        scanned_ = rest_.size();
        if (scanned_ - at > kLongestLine)
          refuse_file(fmt::format("{} line {}", file_.path.string(), line_ + lines_), "",
                      fmt::format("is longer than {} bytes", kLongestLine),
                      "Each line of .jsonl is one document; split this one.");
        if (!end || at == rest_.size()) break;
        stop = rest_.size() - 1;
      }
      has_text_ |=
          !line_text(std::string_view(rest_).substr(at, stop + 1 - at), file_.path, line_ + lines_)
               .empty();
      ++lines_;
      block_bytes_ += stop + 1 - at;
      at = scanned_ = stop + 1;
      if (block_bytes_ >= kBlockBytes) close_lines();
    }
    rest_.erase(0, at);
    scanned_ -= at;
    if (end && block_bytes_) close_lines();
  }

  void close_lines() {
    if (has_text_) {
      block(block_bytes_, false);
    } else {
      offset_ += static_cast<int64_t>(block_bytes_);
    }
    line_ += lines_;
    lines_ = 0;
    block_bytes_ = 0;
    has_text_ = false;
  }

  CorpusIndex& index_;
  CorpusFile& file_;
  uint32_t number_;
  Sha256& hash_;
  std::string rest_;
  size_t scanned_ = 0, block_bytes_ = 0;
  int64_t offset_ = 0, total_ = 0, line_ = 1, lines_ = 0;
  bool any_ = false, has_text_ = false;
};

}  // namespace

std::vector<CorpusFile> list_corpus_files(const fs::path& path) {
  std::error_code error;
  const auto status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found || path.empty())
    throw Error("load", ErrorCode::not_found,
                fmt::format("there is no {}", in_quotes(path.string())),
                "Give a text file, a .jsonl file, a folder of them, or \"story\".");
  std::vector<CorpusFile> files;
  if (fs::is_directory(status)) {
    std::set<fs::path> seen;
    walk(path, 0, seen, files);
    if (files.empty())
      throw Error("load", ErrorCode::not_found,
                  fmt::format("no .txt, .md or .jsonl file in {}", in_quotes(path.string())));
    return files;
  }
  if (!fs::is_regular_file(status)) unreadable(path, "is neither a file nor a folder");
  const std::string e = extension(path);
  if (e == ".parquet" || e == ".json")
    refuse_file(path.string(), "", fmt::format("{} is not supported", e),
                "Convert it to .jsonl, one object with a \"text\" per line.");
  add_file(path, files);
  return files;
}

CorpusIndex index_corpus(std::vector<CorpusFile> files) {
  CorpusIndex index;
  index.files = std::move(files);
  Sha256 hash;
  for (uint32_t i = 0; i < index.files.size(); ++i) Indexer(index, i, hash).run();
  index.sha256 = hash.hex();
  return index;
}

void read_block(const CorpusIndex& index, const CorpusBlock& block,
                const std::function<void(std::string_view, bool)>& piece) {
  const CorpusFile& file = index.files[block.file];
  std::error_code error;
  std::string raw(static_cast<size_t>(block.bytes), '\0');
  std::ifstream in(file.path, std::ios::binary);
  in.seekg(block.offset);
  in.read(raw.data(), block.bytes);
  if (!in || static_cast<int64_t>(fs::file_size(file.path, error)) != file.bytes ||
      fs::last_write_time(file.path, error) != file.written || error)
    refuse_file(file.path.string(), "", "changed or vanished while it was in use",
                "Keep the corpus unchanged during a run.");
  auto give = [&](std::string text, bool ends_document) {
    for (size_t at = 0; (at = text.find("\r\n", at)) != std::string::npos;) text.erase(at, 1);
    piece(is_valid_utf8(text) ? text : to_valid_utf8(text), ends_document);
  };
  if (!file.lines) {
    give(std::move(raw), block.ends_document);
    return;
  }
  int64_t number = block.line;
  for (size_t at = 0; at < raw.size(); ++number) {
    const size_t stop = std::min(raw.find('\n', at), raw.size() - 1);
    std::string text =
        line_text(std::string_view(raw).substr(at, stop + 1 - at), file.path, number);
    if (!text.empty()) give(std::move(text), true);
    at = stop + 1;
  }
}

}  // namespace flashmorph
