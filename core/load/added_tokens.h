// SPDX-License-Identifier: Apache-2.0
// Finds added tokens in text: leftmost first, longest at that place, by a trie of bytes.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "core/load/bpe.h"

namespace flashmorph {

class AddedTokens {
 public:
  void add(std::string_view content, int32_t id, bool special) {
    if (content.empty()) return;
    starts_[static_cast<unsigned char>(content[0])] = true;
    int32_t node = 0;
    for (char c : content) {
      int32_t next = child(node, c);
      if (next < 0) {
        next = static_cast<int32_t>(nodes_.size());
        nodes_.emplace_back();
        nodes_[static_cast<size_t>(node)].children.emplace_back(c, next);
      }
      node = next;
    }
    nodes_[static_cast<size_t>(node)].id = id;
    nodes_[static_cast<size_t>(node)].special = special;
  }

  /// Appends the ids of the tokens found to `out` and calls between(text) for what lies between, in
  /// order. skip_specials: a special token that is found counts as text, as a whole.
  template <typename Between>
  void cut(std::string_view text, bool skip_specials, TokenIds& out, Between between) const {
    size_t start = 0;
    for (size_t at = 0; nodes_.size() > 1 && at < text.size(); ++at) {
      if (!starts_[static_cast<unsigned char>(text[at])]) continue;
      const Node* found = nullptr;
      size_t end = at;
      int32_t node = 0;
      for (size_t i = at; i < text.size() && (node = child(node, text[i])) >= 0; ++i) {
        if (nodes_[static_cast<size_t>(node)].id >= 0) {
          found = &nodes_[static_cast<size_t>(node)];
          end = i + 1;
        }
      }
      if (!found) continue;
      if (!(skip_specials && found->special)) {
        if (at > start) between(text.substr(start, at - start));
        out.push_back(found->id);
        start = end;
      }
      at = end - 1;
    }
    if (start < text.size()) between(text.substr(start));
  }

 private:
  struct Node {
    std::vector<std::pair<char, int32_t>> children;
    int32_t id = -1;
    bool special = false;
  };
  int32_t child(int32_t node, char c) const {
    for (const auto& [byte, next] : nodes_[static_cast<size_t>(node)].children)
      if (byte == c) return next;
    return -1;
  }
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::array<bool, 256> starts_{};
};

}  // namespace flashmorph
