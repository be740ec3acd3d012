// SPDX-License-Identifier: Apache-2.0
// Any text as a layer plan: what is accepted is written back as the same plan.
#include <cstdint>
#include <cstdlib>

#include "core/run/error.h"
#include "core/run/layer_plan.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto plan = flashmorph::LayerPlan::parse({reinterpret_cast<const char*>(data), size});
    if (flashmorph::LayerPlan::parse(plan.to_string()) != plan) std::abort();
  } catch (const flashmorph::Error&) {
    // refused in a sentence: what we want
  }
  return 0;
}
