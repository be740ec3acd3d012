// SPDX-License-Identifier: Apache-2.0
// From scores to layers: the kept set of a budget; and the plans that differ from all full or all
// linear by one layer.
#pragma once

#include <vector>

#include "core/run/layer_plan.h"

namespace flashmorph {

/// The K best layers by rank_order (core/run/gate_rank.h): falling score, ties by lower index.
LayerPlan keep_top(const std::vector<double>& score, int budget);

/// All layers full but one; all linear but one.
LayerPlan all_but(int layers, int linear_layer);
LayerPlan only(int layers, int full_layer);
/// all_but or only for every layer in turn.
std::vector<LayerPlan> each_all_but(int layers);
std::vector<LayerPlan> each_only(int layers);

}  // namespace flashmorph
