// SPDX-License-Identifier: Apache-2.0
#include "core/run/json_scan.h"

namespace flashmorph {

size_t first_too_deep(std::string_view text, int depth) {
  int here = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++here > depth) return i;
    } else if (c == '}' || c == ']') {
      --here;
    }
  }
  return std::string_view::npos;
}

bool DoubledKeys::is_doubled(nlohmann::json::parse_event_t event, const nlohmann::json& value) {
  using Event = nlohmann::json::parse_event_t;
  if (event == Event::object_start)
    open_.emplace_back();
  else if (event == Event::object_end)
    open_.pop_back();
  else if (event == Event::key)
    return !open_.back().insert(value.get_ref<const std::string&>()).second;
  return false;
}

}  // namespace flashmorph
