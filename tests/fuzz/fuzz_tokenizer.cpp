// SPDX-License-Identifier: Apache-2.0
// tokenizer.json up to the first NUL, then a text to encode with it and to decode again.
#include <algorithm>
#include <cstdint>

#include "core/load/tokenizer.h"
#include "core/run/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t end = std::min(all.find('\0'), size);
  const auto text = all.substr(std::min(end + 1, size));
  try {
    const auto tokenizer =
        flashmorph::Tokenizer::from_json(std::string(all.substr(0, end)), "tokenizer.json");
    tokenizer.decode(tokenizer.encode(text));
    tokenizer.encode(text, {.specials_as_text = true, .add_special = true});
  } catch (const flashmorph::Error&) {
    // refused in a sentence: what we want
  }
  return 0;
}
