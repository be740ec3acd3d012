// SPDX-License-Identifier: Apache-2.0
// Merging with a heap and a linked list of symbols, so that a piece of a megabyte stays O(n log n).
#include "core/load/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "core/load/text.h"
#include "core/load/unicode.h"

namespace flashmorph {
namespace {

constexpr uint64_t kEmpty = ~uint64_t{0};

uint64_t pair_key(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

size_t slot(uint64_t key, size_t mask) {
  key *= 0x9E3779B97F4A7C15u;
  return static_cast<size_t>(key ^ (key >> 32)) & mask;
}

}  // namespace

Bpe::Bpe(Vocabulary vocabulary, const std::vector<std::pair<std::string, std::string>>& merges,
         BpeOptions options, const std::string& where)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  for (int b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    const auto found = vocabulary_.find(spell_bytes({&byte, 1}));
    byte_id_[b] = found == vocabulary_.end() ? -1 : found->second;
  }
  if (options_.unk) {
    const auto found = vocabulary_.find(*options_.unk);
    if (found == vocabulary_.end())
      refuse_file(where, "unk_token",
                  fmt::format("{} is not in the vocabulary", in_quotes(*options_.unk)));
    unk_id_ = found->second;
  }
  table_.assign(std::bit_ceil(merges.size() * 2 + 2), Merge{kEmpty, 0, 0});
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& left = merges[rank].first;
    const auto& right = merges[rank].second;
    auto id = [&](const std::string& piece) {
      const auto found = vocabulary_.find(piece);
      if (found == vocabulary_.end())
        refuse_file(where, fmt::format("merges[{}]", rank),
                    fmt::format("{} {} needs {}, which is not in the vocabulary", in_quotes(left),
                                in_quotes(right), in_quotes(piece)));
      return found->second;
    };
    const int32_t joined = id(left + right);
    const uint64_t key = pair_key(id(left), id(right));
    size_t at = slot(key, table_.size() - 1);
    while (table_[at].pair != kEmpty && table_[at].pair != key) at = (at + 1) & (table_.size() - 1);
    table_[at] = {key, static_cast<int32_t>(rank),
                  joined};  // a pair listed twice has its last rank, as in tokenizers
  }
}

const Bpe::Merge* Bpe::find(int32_t left, int32_t right) const {
  const uint64_t key = pair_key(left, right);
  for (size_t at = slot(key, table_.size() - 1);; at = (at + 1) & (table_.size() - 1)) {
    if (table_[at].pair == key) return &table_[at];
    if (table_[at].pair == kEmpty) return nullptr;
  }
}

void Bpe::encode(std::string_view piece, BpeScratch& scratch, TokenIds& out) const {
  if (options_.ignore_merges) {
    const auto whole = vocabulary_.find(spell_bytes(piece));
    if (whole != vocabulary_.end()) {
      out.push_back(whole->second);
      return;
    }
  }
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  symbols.clear();
  heap.clear();
  bool after_unk = false;
  for (char c : piece) {
    int32_t id = byte_id_[static_cast<unsigned char>(c)];
    const bool unknown = id < 0;
    if (unknown) {
      if (unk_id_ < 0 || (after_unk && options_.fuse_unk)) continue;
      id = unk_id_;
    }
    after_unk = unknown;
    const auto at = static_cast<int32_t>(symbols.size());
    symbols.push_back({id, at - 1, at + 1});
  }
  if (symbols.empty()) return;
  symbols.back().next = -1;

  // Lowest rank first, then leftmost.
  auto later = [](const BpeScratch::Candidate& a, const BpeScratch::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  auto at = [&](int32_t i) -> BpeScratch::Symbol& { return symbols[static_cast<size_t>(i)]; };
  auto propose = [&](int32_t left) {
    const int32_t right = at(left).next;
    if (right < 0) return false;
    const Merge* merge = find(at(left).id, at(right).id);
    if (!merge) return false;
    heap.push_back({merge->rank, left, merge->id});
    return true;
  };
  for (int32_t i = 0; i + 1 < static_cast<int32_t>(symbols.size()); ++i) propose(i);
  std::make_heap(heap.begin(), heap.end(), later);
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const auto best = heap.back();
    heap.pop_back();
    auto& left = at(best.position);
    if (left.id < 0 || left.next < 0) continue;  // swallowed since, or last by now
    auto& right = at(left.next);
    const Merge* merge = find(left.id, right.id);
    if (!merge || merge->id != best.id || merge->rank != best.rank)
      continue;  // a neighbor changed since
    left.id = best.id;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) at(left.next).previous = best.position;
    if (left.previous >= 0 && propose(left.previous))
      std::push_heap(heap.begin(), heap.end(), later);
    if (propose(best.position)) std::push_heap(heap.begin(), heap.end(), later);
  }
  for (int32_t i = 0; i >= 0; i = at(i).next) out.push_back(at(i).id);
}

}  // namespace flashmorph
