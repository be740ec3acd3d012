// SPDX-License-Identifier: Apache-2.0
// Numbers that must not mix: jobs ("j57") and runs ("r3") of one engine session.
#pragma once

#include <charconv>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace flashmorph {

/// A tagged number with a one-letter text form. Prefix is the letter, which is also the tag.
template <char Prefix>
struct TaggedId {
  int64_t value = 0;  ///< 1-based; 0: none

  auto operator<=>(const TaggedId&) const = default;
  std::string to_string() const { return Prefix + std::to_string(value); }
  /// Nothing unless text is the letter followed by a positive decimal number.
  static std::optional<TaggedId> parse(std::string_view text) {
    TaggedId id;
    if (text.size() < 2 || text.front() != Prefix) return std::nullopt;
    const auto [end, ec] = std::from_chars(text.data() + 1, text.data() + text.size(), id.value);
    if (ec != std::errc() || end != text.data() + text.size() || id.value < 1) return std::nullopt;
    return id;
  }
};

using JobId = TaggedId<'j'>;
using RunId = TaggedId<'r'>;

}  // namespace flashmorph
