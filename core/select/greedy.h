// SPDX-License-Identifier: Apache-2.0
// Greedy selection: one layer a round, every candidate measured anew in every round (method 5.1).
#pragma once

#include "core/select/calibration.h"

namespace flashmorph {

/// From all linear, add the layer whose plan has the lowest answer NLL (ties: lower index) until K
/// are full. K(2L-K+1)/2 evaluations. Nothing is skipped: scores of earlier rounds bound nothing,
/// as the loss is not submodular.
SelectorResult select_greedy_add(const SelectorInput& input, Calibration& calibration);
/// From the teacher, make the layer linear whose plan has the lowest answer NLL (ties: higher
/// index) until K are full, or until every further plan exceeds the teacher's NLL by more than
/// quality_floor (then more than K stay full and the detail says so). (L(L+1) - K(K+1))/2
/// evaluations, and the teacher's.
SelectorResult select_greedy_drop(const SelectorInput& input, Calibration& calibration);

}  // namespace flashmorph
