// SPDX-License-Identifier: Apache-2.0
#include "core/load/json_text.h"

#include <unordered_set>
#include <vector>

#include <fmt/format.h>

#include "core/load/text.h"

namespace flashmorph {

void check_json_limits(std::string_view text, const std::string& where, const JsonLimits& limits) {
  if (text.size() > limits.bytes)
    refuse_file(where, "",
                fmt::format("{} bytes of JSON, at most {} are read", text.size(), limits.bytes));
  int depth = 0;
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
      if (++depth > limits.depth)
        refuse_file(where, fmt::format("byte {}", i),
                    fmt::format("nested deeper than {} levels", limits.depth));
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
}

nlohmann::json parse_json(std::string_view text, const std::string& where,
                          const JsonLimits& limits) {
  using Json = nlohmann::json;
  check_json_limits(text, where, limits);
  std::vector<std::unordered_set<std::string>> keys;  // of the objects that are open now
  const auto seen = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == Json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == Json::parse_event_t::key) {
      const auto& key = value.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        refuse_file(where, in_quotes(key), "the key appears twice");
    }
    return true;
  };
  try {
    if (!limits.unique_keys) return Json::parse(text);
    return Json::parse(text, seen);
  } catch (const Json::exception& e) {
    // The library's sentence holds the offending bytes; keep its position, escape the rest.
    refuse_file(where, "", fmt::format("not valid JSON: {}", in_quotes(e.what(), 160)));
  }
}

}  // namespace flashmorph
