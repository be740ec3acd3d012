// SPDX-License-Identifier: Apache-2.0
// Uniform: evenly spaced layers (method 5.1). No measurement.
#pragma once

#include "core/select/calibration.h"

namespace flashmorph {

/// keep {floor(i L / K) + offset : i = 0..K-1}. Throws Error(bad_request) if an offset pushes a
/// layer out of 0..L-1.
SelectorResult select_uniform(const SelectorInput& input, Calibration& calibration);

}  // namespace flashmorph
