// SPDX-License-Identifier: Apache-2.0
// The pipeline: added tokens, normalizer, pre-tokenizer, BPE with a cache of pieces,
// post-processor; and decoding.
#include "core/load/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <unordered_set>

#include "core/load/added_tokens.h"
#include "core/load/text.h"
#include "core/load/unicode.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 30;
constexpr int32_t kMaxId = 1 << 24;

// Direct-mapped cache of short pieces: bounded, and a collision only costs a merge.
class PieceCache {
 public:
  static constexpr size_t kKeyBytes = 23, kIds = 7;

  void encode(std::string_view piece, const Bpe& bpe, BpeScratch& scratch, TokenIds& out) {
    if (piece.size() > kKeyBytes) {
      bpe.encode(piece, scratch, out);
      return;
    }
    if (slots_.empty()) slots_.resize(size_t{1} << 15);
    Slot& slot = slots_[hash(piece) & (slots_.size() - 1)];
    if (slot.used && slot.key_bytes == piece.size() &&
        std::memcmp(slot.key.data(), piece.data(), piece.size()) == 0) {
      for (int i = 0; i < slot.count; ++i) out.push_back(slot.ids[static_cast<size_t>(i)]);
      return;
    }
    const size_t before = out.size();
    bpe.encode(piece, scratch, out);
    const size_t count = out.size() - before;
    if (count > kIds) return;
    slot.used = true;
    slot.key_bytes = static_cast<uint8_t>(piece.size());
    slot.count = static_cast<int8_t>(count);
    std::memcpy(slot.key.data(), piece.data(), piece.size());
    for (size_t i = 0; i < count; ++i) slot.ids[i] = static_cast<int32_t>(out[before + i]);
  }

 private:
  struct Slot {
    std::array<char, kKeyBytes> key;
    uint8_t key_bytes = 0;
    bool used = false;
    int8_t count = 0;
    std::array<int32_t, kIds> ids;
  };
  static size_t hash(std::string_view piece) {
    uint64_t h = 0xCBF29CE484222325u;
    for (char c : piece) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
    return static_cast<size_t>(h ^ (h >> 32));
  }
  std::vector<Slot> slots_;
};

struct Workspace {
  explicit Workspace(const PreTokenizer& rule) : match(rule) {}
  PreTokenizer::Scratch match;
  BpeScratch bpe;
  PieceCache cache;
};

}  // namespace

struct Tokenizer::State {
  State(TokenizerParts given, const std::string& where)
      : pretokenizer(given.rule),
        nfc(given.nfc),
        prefix(std::move(given.prefix)),
        suffix(std::move(given.suffix)),
        bos(given.bos),
        eos(given.eos),
        bpe(std::move(given.vocabulary), given.merges, given.bpe, where) {
    auto put = [&](const std::string& spelling, int32_t id) {
      if (id < 0 || id >= kMaxId)
        refuse_file(where, "vocabulary",
                    fmt::format("token {} has id {}, expected 0 to {}", in_quotes(spelling), id,
                                kMaxId - 1));
      if (static_cast<size_t>(id) >= bytes.size()) {
        bytes.resize(static_cast<size_t>(id) + 1);
        present.resize(bytes.size(), false);
      }
      if (present[static_cast<size_t>(id)])
        refuse_file(where, "vocabulary",
                    fmt::format("two tokens have id {}, one of them {}", id, in_quotes(spelling)));
      present[static_cast<size_t>(id)] = true;
      // A spelling that is not byte-level stands for itself, as in the library's decoder.
      bytes[static_cast<size_t>(id)] = unspell_bytes(spelling).value_or(spelling);
    };
    for (const auto& [spelling, id] : bpe.vocabulary()) put(spelling, id);
    for (auto& token : given.added) {
      const auto known = bpe.vocabulary().find(token.content);
      if (known == bpe.vocabulary().end()) {
        put(token.content, token.id);
        added_ids.emplace(token.content, token.id);
      } else if (known->second != token.id) {
        refuse_file(where, "added_tokens",
                    fmt::format("{} has id {}, but {} in the vocabulary", in_quotes(token.content),
                                token.id, known->second));
      }
      if (token.special) specials.insert(token.id);
      const std::string content =
          token.normalized && nfc ? flashmorph::nfc(token.content) : token.content;
      (token.normalized ? normalized : raw).add(content, token.id, token.special);
    }
    for (const auto* list : {&prefix, &suffix})
      for (int64_t id : *list) check_id(id, where, "post_processor");
    if (bos) check_id(*bos, where, "bos_token_id");
    if (eos) check_id(*eos, where, "eos_token_id");
  }

  void check_id(int64_t id, const std::string& where, const char* what) const {
    if (id < 0 || id >= static_cast<int64_t>(bytes.size()))
      refuse_file(where, what,
                  fmt::format("id {} is not in the vocabulary of {} tokens", id, bytes.size()));
  }

  // Plain text between added tokens, after normalization.
  void encode_plain(std::string_view text, Workspace& work, TokenIds& out) const {
    pretokenizer.split(text, work.match, [&](std::string_view piece) {
      work.cache.encode(piece, bpe, work.bpe, out);
    });
  }

  void encode(std::string_view text, bool specials_as_text, Workspace& work, TokenIds& out) const {
    raw.cut(text, specials_as_text, out, [&](std::string_view between) {
      std::string composed;
      if (nfc) composed = flashmorph::nfc(between);
      normalized.cut(nfc ? std::string_view(composed) : between, specials_as_text, out,
                     [&](std::string_view plain) { encode_plain(plain, work, out); });
    });
  }

  std::unique_ptr<Workspace> borrow() const {
    const std::lock_guard lock(mutex);
    if (idle.empty()) return std::make_unique<Workspace>(pretokenizer);
    auto work = std::move(idle.back());
    idle.pop_back();
    return work;
  }
  void give_back(std::unique_ptr<Workspace> work) const {
    const std::lock_guard lock(mutex);
    if (idle.size() < 16) idle.push_back(std::move(work));
  }

  PreTokenizer pretokenizer;
  bool nfc;
  TokenIds prefix, suffix;
  std::optional<int64_t> bos, eos;
  Bpe bpe;
  AddedTokens raw, normalized;
  std::vector<std::string> bytes;
  std::vector<bool> present;
  Vocabulary added_ids;
  std::unordered_set<int64_t> specials;
  mutable std::mutex mutex;
  mutable std::vector<std::unique_ptr<Workspace>> idle;
};

Tokenizer::Tokenizer(TokenizerParts parts, const std::string& where)
    : state_(std::make_shared<const State>(std::move(parts), where)) {}

Tokenizer Tokenizer::from_json(const std::string& text, const std::string& where) {
  return Tokenizer(read_tokenizer_json(text, where), where);
}

Tokenizer Tokenizer::from_gguf(const GgufTokenizerFields& fields, const std::string& where) {
  return Tokenizer(read_tokenizer_gguf(fields, where), where);
}

TokenIds Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > kMaxTextBytes)
    throw Error("load", ErrorCode::bad_request,
                fmt::format("tokenizer: {} bytes at once are too many", text.size()),
                "Split the text into parts of at most 1 GiB.");
  std::string repaired;
  if (!is_valid_utf8(text)) {
    repaired = to_valid_utf8(text);
    text = repaired;
  }
  TokenIds out;
  out.reserve(text.size() / 4 + 8);
  if (options.add_special) out = state_->prefix;
  auto work = state_->borrow();
  state_->encode(text, options.specials_as_text, *work, out);
  state_->give_back(std::move(work));
  if (options.add_special) out.insert(out.end(), state_->suffix.begin(), state_->suffix.end());
  return out;
}

std::string_view Tokenizer::bytes_of(int64_t id) const {
  if (id < 0 || id >= vocab_size()) return {};
  return state_->bytes[static_cast<size_t>(id)];
}

std::string Tokenizer::decode(std::span<const int64_t> ids, bool keep_specials) const {
  std::string out;
  for (int64_t id : ids) {
    if (!keep_specials && state_->specials.contains(id)) continue;
    out += bytes_of(id);
  }
  return is_valid_utf8(out) ? out : to_valid_utf8(out);
}

int64_t Tokenizer::vocab_size() const { return static_cast<int64_t>(state_->bytes.size()); }

std::optional<int64_t> Tokenizer::id_of(std::string_view piece) const {
  for (const Vocabulary* ids : {&state_->added_ids, &state_->bpe.vocabulary()}) {
    const auto found = ids->find(piece);
    if (found != ids->end()) return found->second;
  }
  return std::nullopt;
}

std::optional<int64_t> Tokenizer::bos() const { return state_->bos; }
std::optional<int64_t> Tokenizer::eos() const { return state_->eos; }

}  // namespace flashmorph
