// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding of one piece: start from bytes, join the neighbors with the lowest merge rank
// until none is left.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace flashmorph {

using TokenIds = std::vector<int64_t>;

/// Hash of strings that also takes views, so that look-ups copy nothing.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using Vocabulary = std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>>;

struct BpeOptions {
  bool ignore_merges = false;  ///< a piece that is itself in the vocabulary is one token (Llama 3)
  std::optional<std::string>
      unk{};              ///< token for a byte the vocabulary lacks; without it such bytes vanish
  bool fuse_unk = false;  ///< neighbors of that kind give one token
};

/// Working memory of Bpe::encode, reused from piece to piece; one per thread.
struct BpeScratch {
  struct Symbol {
    int32_t id, previous, next;
  };
  struct Candidate {
    int32_t rank, position, id;
  };
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

class Bpe {
 public:
  /// vocabulary: byte-level spelling to id; merges: spellings in order of rank.
  /// Throws Error(load, bad_file) naming a merge whose parts or result are not in the vocabulary.
  Bpe(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
      BpeOptions options, const std::string& where);

  /// Appends the ids of one piece of raw bytes; O(n log n) in its length (at most 2^30 bytes).
  void encode(std::string_view piece, BpeScratch& scratch, TokenIds& out) const;

  const Vocabulary& vocabulary() const { return vocabulary_; }

 private:
  struct Merge {
    uint64_t pair;
    int32_t rank, id;
  };
  const Merge* find(int32_t left, int32_t right) const;

  Vocabulary vocabulary_;
  BpeOptions options_;
  std::vector<Merge> table_;  // open addressing, size a power of two
  int32_t byte_id_[256];      // -1: not in the vocabulary
  int32_t unk_id_ = -1;
};

}  // namespace flashmorph
