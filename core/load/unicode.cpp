// SPDX-License-Identifier: Apache-2.0
// UTF-8 checks and repairs, NFC over utf8proc's tables, byte-level spellings.
#include "core/load/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <vector>

#include "core/run/error.h"

namespace flashmorph {
namespace {

// Length of the well-formed sequence at text[at], or minus the length of the maximal ill-formed part.
int sequence(std::string_view text, size_t at) {
  auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned b = byte(at);
  if (b < 0x80) return 1;
  int length = 0;
  unsigned low = 0x80, high = 0xBF;  // allowed range of the second byte (Unicode table 3-7)
  if (b >= 0xC2 && b <= 0xDF) {
    length = 2;
  } else if (b >= 0xE0 && b <= 0xEF) {
    length = 3;
    if (b == 0xE0) low = 0xA0;
    if (b == 0xED) high = 0x9F;
  } else if (b >= 0xF0 && b <= 0xF4) {
    length = 4;
    if (b == 0xF0) low = 0x90;
    if (b == 0xF4) high = 0x8F;
  } else {
    return -1;
  }
  for (int i = 1; i < length; ++i) {
    const size_t where = at + static_cast<size_t>(i);
    if (where >= text.size() || byte(where) < low || byte(where) > high) return -i;
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

struct ByteSpelling {
  std::array<char32_t, 256> character{};
  std::array<int, 512> byte{};
  ByteSpelling() {
    byte.fill(-1);
    char32_t next = 256;
    for (char32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
      character[b] = printable ? b : next++;
      byte[character[b]] = static_cast<int>(b);
    }
  }
};

const ByteSpelling& byte_spelling() {
  static const ByteSpelling table;
  return table;
}

// One code point of valid UTF-8; moves `at` behind it.
char32_t next_code(std::string_view text, size_t& at) {
  utf8proc_int32_t code = 0;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data()) + at;
  const auto used = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
  if (used <= 0) throw Error("load", ErrorCode::internal, "NFC was given text that is not UTF-8");
  at += static_cast<size_t>(used);
  return static_cast<char32_t>(code);
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const int length = sequence(text, at);
    if (length < 0) return false;
    at += static_cast<size_t>(length);
  }
  return true;
}

std::string to_valid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const int length = sequence(text, at);
    const auto count = static_cast<size_t>(length < 0 ? -length : length);
    if (length < 0) {
      append_utf8(out, 0xFFFD);
    } else {
      out.append(text, at, count);
    }
    at += count;
  }
  return out;
}

size_t utf8_prefix(std::string_view text, size_t limit) {
  if (limit >= text.size()) return text.size();
  size_t end = limit;
  for (int back = 0; back < 3 && end > 0; ++back, --end) {
    if ((static_cast<unsigned char>(text[end]) & 0xC0) != 0x80) return end;
  }
  return (static_cast<unsigned char>(text[end]) & 0xC0) != 0x80 ? end : limit;
}

void append_utf8(std::string& out, char32_t code) {
  auto put = [&](char32_t b) { out.push_back(static_cast<char>(b)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0 | (code >> 6));
    put(0x80 | (code & 63));
  } else if (code < 0x10000) {
    put(0xE0 | (code >> 12));
    put(0x80 | ((code >> 6) & 63));
    put(0x80 | (code & 63));
  } else {
    put(0xF0 | (code >> 18));
    put(0x80 | ((code >> 12) & 63));
    put(0x80 | ((code >> 6) & 63));
    put(0x80 | (code & 63));
  }
}

std::string nfc(std::string_view text) {
  // Below U+0300 (lead bytes up to 0xCB) nothing combines and nothing is a composed form of other than itself.
  const bool simple = std::all_of(text.begin(), text.end(),
                                  [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
  if (simple) return std::string(text);
  std::vector<utf8proc_int32_t> codes;
  codes.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const auto code = static_cast<utf8proc_int32_t>(next_code(text, at));
    std::array<utf8proc_int32_t, 32> parts{};
    int boundary = UTF8PROC_BOUNDCLASS_START;
    const auto count = utf8proc_decompose_char(code, parts.data(), parts.size(),
                                               static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE), &boundary);
    if (count < 0 || static_cast<size_t>(count) > parts.size())
      throw Error("load", ErrorCode::internal, "NFC: the Unicode tables refuse a character");
    codes.insert(codes.end(), parts.begin(), parts.begin() + count);
  }
  // utf8proc_decompose would exchange neighbors until sorted, quadratic for a megabyte of marks.
  auto rank = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (auto run = codes.begin(); run != codes.end();) {
    if (rank(*run) == 0) {
      ++run;
      continue;
    }
    const auto end = std::find_if(run, codes.end(), [&](auto c) { return rank(c) == 0; });
    std::stable_sort(run, end, [&](auto a, auto b) { return rank(a) < rank(b); });
    run = end;
  }
  const auto length = utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  if (length < 0) throw Error("load", ErrorCode::internal, "NFC: the Unicode tables refuse a text");
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < length; ++i) append_utf8(out, static_cast<char32_t>(codes[static_cast<size_t>(i)]));
  return out;
}

std::string spell_bytes(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (char c : bytes) append_utf8(out, byte_spelling().character[static_cast<unsigned char>(c)]);
  return out;
}

std::optional<std::string> unspell_bytes(std::string_view spelling) {
  std::string out;
  out.reserve(spelling.size());
  for (size_t at = 0; at < spelling.size();) {
    const int length = sequence(spelling, at);
    if (length < 0 || length > 2) return std::nullopt;  // every stand-in lies below U+0200
    char32_t code = static_cast<unsigned char>(spelling[at]);
    if (length == 2) code = ((code & 31) << 6) | (static_cast<unsigned char>(spelling[at + 1]) & 63u);
    if (code >= byte_spelling().byte.size() || byte_spelling().byte[code] < 0) return std::nullopt;
    out.push_back(static_cast<char>(byte_spelling().byte[code]));
    at += static_cast<size_t>(length);
  }
  return out;
}

}  // namespace flashmorph
