// SPDX-License-Identifier: Apache-2.0
// Any bytes as a safetensors file: an Error, or ranges that can be read.
#include <cstdint>

#include "core/load/safetensors_header.h"
#include "core/run/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span file(reinterpret_cast<const std::byte*>(data), size);
  try {
    const auto header = flashmorph::parse_safetensors_header(file, "fuzz.safetensors");
    unsigned sum = 0;
    for (const auto& [name, entry] : header.entries)
      for (const auto byte : file.subspan(entry.begin, entry.end - entry.begin))
        sum += std::to_integer<unsigned>(byte);
    [[maybe_unused]] volatile unsigned sink = sum;
  } catch (const flashmorph::Error&) {
    // refused in a sentence: what we want
  }
  return 0;
}
