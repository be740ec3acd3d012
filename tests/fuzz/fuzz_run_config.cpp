// SPDX-License-Identifier: Apache-2.0
// Any text as run-config JSON: what is accepted is written back as the same configuration.
#include <cstdint>
#include <cstdlib>

#include "core/run/error.h"
#include "core/run/run_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto config =
        flashmorph::parse_run_config({reinterpret_cast<const char*>(data), size}, "request");
    if (flashmorph::run_config_of(flashmorph::to_json(config), "request") != config) std::abort();
    flashmorph::command_line(config);
  } catch (const flashmorph::Error&) {
    // refused in a sentence: what we want
  }
  return 0;
}
