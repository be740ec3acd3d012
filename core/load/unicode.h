// SPDX-License-Identifier: Apache-2.0
// Text as the tokenizer needs it: valid UTF-8, NFC, and GPT-2's printable stand-ins for the 256
// bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace flashmorph {

/// True if `text` is well-formed UTF-8 (no surrogates, no overlong forms, nothing above U+10FFFF).
bool is_valid_utf8(std::string_view text);

/// `text` with each maximal ill-formed part replaced by U+FFFD, as Unicode recommends and Rust's
/// lossy conversion does.
std::string to_valid_utf8(std::string_view text);

/// Length in bytes of the longest prefix of `text` (at most `limit` bytes) that does not cut a
/// UTF-8 sequence.
size_t utf8_prefix(std::string_view text, size_t limit);

/// Canonical composition (NFC) of valid UTF-8 by Unicode 9, which is what `tokenizers` has: later
/// marks are inert. Linear but for a sort inside each run of combining marks. Throws Error(load,
/// internal) if the Unicode tables fail.
std::string nfc(std::string_view text);

/// Appends the UTF-8 form of a code point.
void append_utf8(std::string& out, char32_t code);

/// Byte-level spelling: every byte becomes one printable character ("Ġ" for a space).
std::string spell_bytes(std::string_view bytes);

/// The bytes behind a byte-level spelling; nothing if a character of it stands for no byte.
std::optional<std::string> unspell_bytes(std::string_view spelling);

}  // namespace flashmorph
