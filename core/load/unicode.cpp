// SPDX-License-Identifier: Apache-2.0
// UTF-8 checks and repairs, NFC over utf8proc's tables, byte-level spellings.
#include "core/load/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>
#include <vector>

#include "core/run/error.h"

namespace flashmorph {
namespace {

// Length of the well-formed sequence at text[at], or minus the length of the maximal ill-formed
// part.
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

// The `tokenizers` library normalizes by Unicode 9: marks and compositions that came later are
// inert characters to it. These are all such characters of Unicode 10 to 14 (found by comparing the
// library with Unicode's data).
bool is_newer_than_unicode9(char32_t code) {
  static constexpr std::array<std::pair<char32_t, char32_t>, 34> ranges = {{
      {0x7FD, 0x7FD},     {0x898, 0x89F},     {0x8CA, 0x8D3},     {0x9FE, 0x9FE},
      {0xC3C, 0xC3C},     {0xD3B, 0xD3C},     {0xEBA, 0xEBA},     {0x1715, 0x1715},
      {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
      {0x10EAB, 0x10EAC}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
      {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11935, 0x11935},
      {0x11938, 0x11938}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
      {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
      {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x16FF0, 0x16FF1}, {0x1E130, 0x1E136},
      {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
  }};
  const auto after =
      std::upper_bound(ranges.begin(), ranges.end(), code,
                       [](char32_t c, const auto& range) { return c < range.first; });
  return after != ranges.begin() && code <= std::prev(after)->second;
}

// Sorts the marks of decomposed text, composes it, appends it to `out`, and empties it.
void compose(std::vector<utf8proc_int32_t>& codes, std::string& out) {
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
  const auto length =
      utf8proc_normalize_utf32(codes.data(), static_cast<utf8proc_ssize_t>(codes.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  if (length < 0) throw Error("load", ErrorCode::internal, "NFC: the Unicode tables refuse a text");
  for (utf8proc_ssize_t i = 0; i < length; ++i)
    append_utf8(out, static_cast<char32_t>(codes[static_cast<size_t>(i)]));
  codes.clear();
}

// Appends the composed form of a text to `out`; codes: empty, working memory.
void compose_text(std::string_view text, std::vector<utf8proc_int32_t>& codes, std::string& out) {
  for (size_t at = 0; at < text.size();) {
    const char32_t code = next_code(text, at);
    if (is_newer_than_unicode9(code)) {
      compose(codes, out);
      append_utf8(out, code);
      continue;
    }
    std::array<utf8proc_int32_t, 32> parts{};
    int boundary = UTF8PROC_BOUNDCLASS_START;
    const auto count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(code), parts.data(), parts.size(),
        static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE), &boundary);
    if (count < 0 || static_cast<size_t>(count) > parts.size())
      throw Error("load", ErrorCode::internal, "NFC: the Unicode tables refuse a character");
    codes.insert(codes.end(), parts.begin(), parts.begin() + count);
  }
  compose(codes, out);
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
  // Below U+0300 (lead bytes up to 0xCB) nothing combines with what stands before it, and nothing
  // is a composed form of other than itself: text is copied up to the last such character before
  // others, and worked on up to the next one.
  auto simple = [&](size_t i) { return static_cast<unsigned char>(text[i]) < 0xCC; };
  auto inside = [&](size_t i) { return (static_cast<unsigned char>(text[i]) & 0xC0) == 0x80; };
  std::string out;
  out.reserve(text.size());
  std::vector<utf8proc_int32_t> codes;
  for (size_t at = 0; at < text.size();) {
    size_t odd = at;
    while (odd < text.size() && simple(odd)) ++odd;
    size_t from = odd;
    if (odd < text.size() && odd > at)
      for (--from; from > at && inside(from); --from) {
      }
    out.append(text, at, from - at);
    size_t end = odd;
    while (end < text.size() && (!simple(end) || inside(end))) ++end;
    compose_text(text.substr(from, end - from), codes, out);
    at = end;
  }
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
    if (length == 2)
      code = ((code & 31) << 6) | (static_cast<unsigned char>(spelling[at + 1]) & 63u);
    if (code >= byte_spelling().byte.size() || byte_spelling().byte[code] < 0) return std::nullopt;
    out.push_back(static_cast<char>(byte_spelling().byte[code]));
    at += static_cast<size_t>(length);
  }
  return out;
}

}  // namespace flashmorph
