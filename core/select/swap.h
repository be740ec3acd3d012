// SPDX-License-Identifier: Apache-2.0
// Swap: the harm done when only this layer is linear (method 5.1).
#pragma once

#include "core/select/calibration.h"

namespace flashmorph {

/// score_l = answer NLL of the teacher with only layer l linear, minus the teacher's. nats per
/// answer token.
SelectorResult select_swap_nll(const SelectorInput& input, Calibration& calibration);
/// score_l = KL(teacher || teacher with only layer l linear) on text, nats per token.
SelectorResult select_swap_kl(const SelectorInput& input, Calibration& calibration);

}  // namespace flashmorph
