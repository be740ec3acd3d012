// SPDX-License-Identifier: Apache-2.0
// Random layers, the floor every selector must beat (method 5.1, 8). No measurement.
#pragma once

#include "core/select/calibration.h"

namespace flashmorph {

/// Each layer draws a number in [0, 1) from the seed; the K largest are kept: every set of K layers
/// is equally likely, and the sets of one seed are nested.
SelectorResult select_random(const SelectorInput& input, Calibration& calibration);

}  // namespace flashmorph
