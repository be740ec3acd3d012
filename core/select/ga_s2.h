// SPDX-License-Identifier: Apache-2.0
// GA-S2 of KL-LS at 0 distillation steps: what one full layer alone restores of the teacher
// (method 5.1, 5.2).
#pragma once

#include "core/select/calibration.h"

namespace flashmorph {

/// score_l = -KL(teacher || all-linear student with only layer l restored) on text, nats per token.
/// Zero-shot: the published method distills every candidate first (600M tokens each); the detail
/// says steps = 0.
SelectorResult select_ga_s2(const SelectorInput& input, Calibration& calibration);

}  // namespace flashmorph
