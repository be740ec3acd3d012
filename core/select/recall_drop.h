// SPDX-License-Identifier: Apache-2.0
// Recall drop: the recall lost when only this layer is linear, without a control (method 5.1, 5.2).
#pragma once

#include "core/select/calibration.h"

namespace flashmorph {

/// score_l = recall of the teacher - recall of the teacher with only layer l linear; recall as
/// AnswerScore has it.
SelectorResult select_recall_drop(const SelectorInput& input, Calibration& calibration);

}  // namespace flashmorph
