// SPDX-License-Identifier: Apache-2.0
// HALO: recall lost per control metric lost, among single-replacement models (method 5.2).
#pragma once

#include "core/select/calibration.h"

namespace flashmorph {

/// s_l = min(50, (max_j R_j - R_l) / (max_j C_j - C_l + 1e-10)); R, C: metrics of the teacher with
/// only layer l linear, higher = better. The references are the best single-replacement models, not
/// the teacher: the layer of best C always scores 50 unless it has the best R, too. Throws
/// Error(bad_request) when the lengths differ.
std::vector<double> halo_scores(const std::vector<double>& R, const std::vector<double>& C);

/// R and C from the input, or measured: R = recall on the calibration prompts, C = -NLL on the
/// calibration text in nats per token (HALO's own C is commonsense accuracy; the detail says which
/// was used).
SelectorResult select_halo(const SelectorInput& input, Calibration& calibration);

}  // namespace flashmorph
