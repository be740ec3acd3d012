// SPDX-License-Identifier: Apache-2.0
// JSON of unknown origin: size, nesting and duplicate keys are checked before anything is built
// from it.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace flashmorph {

struct JsonLimits {
  size_t bytes = size_t{4} << 20;
  int depth = 64;           ///< nesting of objects and arrays
  bool unique_keys = true;  ///< refuse an object that names a key twice
};

/// Throws when the text is longer or nested deeper than the limits allow; reads strings only as far
/// as their quotes.
void check_json_limits(std::string_view text, const std::string& where,
                       const JsonLimits& limits = {});

/// The value of text. where: file named in the sentences. Throws Error("load", bad_file).
nlohmann::json parse_json(std::string_view text, const std::string& where,
                          const JsonLimits& limits = {});

}  // namespace flashmorph
