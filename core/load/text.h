// SPDX-License-Identifier: Apache-2.0
// Words of hostile files inside our sentences: cut, escaped, always valid UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace flashmorph {

/// text in double quotes, at most limit bytes of it, control characters and broken UTF-8 as \xNN.
std::string in_quotes(std::string_view text, size_t limit = 80);

/// Throws Error("load", bad_file, "WHERE: FIELD: REASON", hint); field may be empty.
[[noreturn]] void refuse_file(std::string_view where, std::string_view field,
                              std::string_view reason, std::string_view hint = {});

/// Throws Error("load", unsupported_model, "WHERE: REASON", hint).
[[noreturn]] void refuse_model(std::string_view where, std::string_view reason,
                               std::string_view hint);

}  // namespace flashmorph
