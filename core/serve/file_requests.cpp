// SPDX-License-Identifier: Apache-2.0
// file.list and file.read: files of run folders, and nothing beside them.
#include <algorithm>
#include <chrono>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/run/file_io.h"
#include "core/run/strict_json.h"
#include "core/serve/base64.h"
#include "core/serve/requests.h"

namespace flashmorph {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Where = Dispatcher::Where;

constexpr int64_t kPiece = int64_t{512} << 10;
constexpr size_t kMostFiles = 4000;

// The file inside the run; refuses what leads out of it, links included.
fs::path inside(const fs::path& run, const std::string& relative) {
  const fs::path wanted(relative);
  std::error_code failure;
  const fs::path base = fs::weakly_canonical(run, failure);
  const fs::path path = fs::weakly_canonical(base / wanted, failure);
  const auto [end, rest] = std::mismatch(base.begin(), base.end(), path.begin(), path.end());
  if (failure || wanted.is_absolute() || relative.find('\0') != std::string::npos ||
      end != base.end())
    throw Error("file", ErrorCode::not_found,
                fmt::format("{} is not inside the run", quote(relative)),
                "give a path relative to the run folder");
  return path;
}

std::string tag_of(const struct stat& status) {
  return fmt::format(
      "{:x}-{:x}-{:x}", status.st_ino, status.st_size,
      static_cast<int64_t>(status.st_mtim.tv_sec) * 1000000000 + status.st_mtim.tv_nsec);
}

Json list(const fs::path& run, const std::string& under) {
  const fs::path base = fs::weakly_canonical(run), start = inside(run, under.empty() ? "." : under);
  if (!fs::is_directory(start))
    throw Error("file", ErrorCode::not_found,
                fmt::format("the run has no folder {}", quote(under)));
  std::vector<std::pair<std::string, Json>> files;
  bool truncated = false;
  std::error_code failure;
  for (auto it = fs::recursive_directory_iterator(start, failure);
       it != fs::recursive_directory_iterator(); it.increment(failure)) {
    if (failure) break;
    struct stat status {};
    if (lstat(it->path().c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    if (files.size() == kMostFiles) {
      truncated = true;
      break;
    }
    const std::string path = it->path().lexically_relative(base).string();
    files.emplace_back(path, Json{{"path", path},
                                  {"bytes", status.st_size},
                                  {"modified_s", status.st_mtim.tv_sec},
                                  {"tag", tag_of(status)}});
  }
  std::sort(files.begin(), files.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  Json all = Json::array();
  for (auto& [path, json] : files) all.push_back(std::move(json));
  return {{"files", all}, {"truncated", truncated}};
}

Json read_piece(const fs::path& run, const Json& params) {
  const std::string name = params["path"];
  const int64_t offset = params.value("offset", int64_t{0}), wanted = params.value("bytes", kPiece);
  if (offset < 0)
    throw Error("file", ErrorCode::bad_request, "file.read: offset: expected 0 or more");
  if (wanted < 1 || wanted > kPiece)
    throw Error("file", ErrorCode::bad_request,
                fmt::format("file.read: bytes: expected 1 to {}", kPiece));
  const fs::path path = inside(run, name);
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) refuse_file_operation("cannot read", path, errno);
  struct stat status {};
  std::string bytes(static_cast<size_t>(wanted), '\0');
  const bool regular = fstat(file, &status) == 0 && S_ISREG(status.st_mode);
  const ssize_t count = regular ? pread(file, bytes.data(), bytes.size(), offset) : 0;
  const int number = errno;
  close(file);
  if (!regular) throw Error("file", ErrorCode::bad_file, fmt::format("{} is no file", quote(name)));
  if (count < 0) refuse_file_operation("cannot read", path, number);
  const std::string tag = tag_of(status);
  if (const std::string before = params.value("tag", ""); !before.empty() && before != tag)
    throw Error("file", ErrorCode::bad_file,
                fmt::format("{} has changed while it was being read", quote(name)),
                "read it again from its first byte");
  bytes.resize(static_cast<size_t>(count));
  return {{"data", base64(bytes)},
          {"offset", offset},
          {"bytes", count},
          {"total_bytes", status.st_size},
          {"end", offset + count >= status.st_size},
          {"tag", tag}};
}

}  // namespace

void add_file_methods(Dispatcher& dispatcher, Engine& engine) {
  dispatcher.add("file.list", Where::clerk, [&](const Json& params, const Responder&) -> Reply {
    return {list(engine.shelf.find(params["run"]), params.value("under", ""))};
  });
  dispatcher.add("file.read", Where::clerk, [&](const Json& params, const Responder&) -> Reply {
    return {read_piece(engine.shelf.find(params["run"]), params)};
  });
}

}  // namespace flashmorph
