// SPDX-License-Identifier: Apache-2.0
// What is looked at before and while JSON of unknown origin is parsed: nesting and doubled keys.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include <nlohmann/json.hpp>

namespace flashmorph {

/// Byte of the first bracket that is nested deeper than `depth`, npos if there is none. Counted
/// before the parser runs, so that neither it nor a later dump can use much stack; reads strings
/// only as far as their quotes.
size_t first_too_deep(std::string_view text, int depth);

/// Fed with the events of nlohmann's parser, one object for one text.
class DoubledKeys {
 public:
  /// Whether this event names a key that its object has already.
  bool is_doubled(nlohmann::json::parse_event_t event, const nlohmann::json& value);

 private:
  std::vector<std::unordered_set<std::string>> open_;  // keys of the objects that are open now
};

}  // namespace flashmorph
