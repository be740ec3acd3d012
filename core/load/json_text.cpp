// SPDX-License-Identifier: Apache-2.0
#include "core/load/json_text.h"

#include <fmt/format.h>

#include "core/load/text.h"
#include "core/run/json_scan.h"

namespace flashmorph {

void check_json_limits(std::string_view text, const std::string& where, const JsonLimits& limits) {
  if (text.size() > limits.bytes)
    refuse_file(where, "",
                fmt::format("{} bytes of JSON, at most {} are read", text.size(), limits.bytes));
  if (const size_t at = first_too_deep(text, limits.depth); at != std::string_view::npos)
    refuse_file(where, fmt::format("byte {}", at),
                fmt::format("nested deeper than {} levels", limits.depth));
}

nlohmann::json parse_json(std::string_view text, const std::string& where,
                          const JsonLimits& limits) {
  using Json = nlohmann::json;
  check_json_limits(text, where, limits);
  DoubledKeys keys;
  const auto seen = [&](int, Json::parse_event_t event, Json& value) {
    if (keys.is_doubled(event, value))
      refuse_file(where, in_quotes(value.get_ref<const std::string&>()), "the key appears twice");
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
