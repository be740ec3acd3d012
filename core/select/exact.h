// SPDX-License-Identifier: Apache-2.0
// Exact: every plan of the budget under the real metric, the ground truth of toys (method 5.1).
#pragma once

#include "core/select/calibration.h"

namespace flashmorph {

/// Most plans `exact` evaluates.
constexpr int64_t kExact_limit = 20000;

/// C(n, k), or INT64_MAX when it does not fit.
int64_t binomial(int n, int k);
/// All plans of L layers with K full, in lexicographic order of the full layers.
std::vector<LayerPlan> all_plans(int layers, int budget);
/// What a table of the truth holds: all linear, all plans of K = 1..max_budget, all full; each plan
/// once. Throws Error(bad_request) naming the count above kExact_limit.
std::vector<LayerPlan> truth_plans(int layers, int max_budget);

/// The plan of lowest answer NLL. score_l = lowest NLL without layer l - lowest NLL with it, nats
/// (positive exactly for layers of the best plan; 0 if there is no plan of the other sort). Throws
/// Error(bad_request) naming C(L,K) above kExact_limit.
SelectorResult select_exact(const SelectorInput& input, Calibration& calibration);

}  // namespace flashmorph
