// SPDX-License-Identifier: Apache-2.0
#include "core/load/text.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

std::string escaped(std::string_view text, size_t limit) {
  std::string out;
  size_t at = 0;
  while (at < text.size() && at < limit) {
    const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at;
    utf8proc_int32_t code = -1;
    const auto used =
        utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
    if (used < 1 || code < 0x20 || (code >= 0x7f && code < 0xa0) || code == '"') {
      out += code == '"' ? "\\\"" : fmt::format("\\x{:02x}", *bytes);
      at += 1;
    } else {
      out.append(text.substr(at, static_cast<size_t>(used)));
      at += static_cast<size_t>(used);
    }
  }
  if (at < text.size()) out += fmt::format("... ({} bytes)", text.size());
  return out;
}

constexpr size_t kLongestPath = 1024;

}  // namespace

std::string in_quotes(std::string_view text, size_t limit) {
  return '"' + escaped(text, limit) + '"';
}

void refuse_file(std::string_view where, std::string_view field, std::string_view reason,
                 std::string_view hint) {
  const std::string file = escaped(where, kLongestPath);
  throw Error("load", ErrorCode::bad_file,
              field.empty() ? fmt::format("{}: {}", file, reason)
                            : fmt::format("{}: {}: {}", file, field, reason),
              std::string(hint));
}

void refuse_model(std::string_view where, std::string_view reason, std::string_view hint) {
  throw Error("load", ErrorCode::unsupported_model,
              fmt::format("{}: {}", escaped(where, kLongestPath), reason), std::string(hint));
}

}  // namespace flashmorph
