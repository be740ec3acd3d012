// SPDX-License-Identifier: Apache-2.0
// Any text as config.json: a configuration whose table can be written down, or an Error.
#include <cstdint>

#include "core/load/model_config.h"
#include "core/load/tensor_table.h"
#include "core/run/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto config =
        flashmorph::parse_model_config({reinterpret_cast<const char*>(data), size}, "config.json");
    flashmorph::tensor_table(config);
  } catch (const flashmorph::Error&) {
    // refused in a sentence: what we want
  }
  return 0;
}
