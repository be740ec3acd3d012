// SPDX-License-Identifier: Apache-2.0
// Bytes as text (RFC 4648, with padding), for file.read.
#pragma once

#include <string>
#include <string_view>

namespace flashmorph {

inline std::string base64(std::string_view bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t at = 0; at < bytes.size(); at += 3) {
    const size_t left = bytes.size() - at;
    unsigned group = 0;
    for (size_t i = 0; i < 3; ++i)
      group = group << 8 | (i < left ? static_cast<unsigned char>(bytes[at + i]) : 0u);
    for (size_t i = 0; i < 4; ++i) text += i <= left ? kDigits[group >> (18 - 6 * i) & 63u] : '=';
  }
  return text;
}

}  // namespace flashmorph
