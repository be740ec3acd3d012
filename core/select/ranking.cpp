// SPDX-License-Identifier: Apache-2.0
#include "core/select/ranking.h"

#include "core/run/gate_rank.h"

namespace flashmorph {

LayerPlan keep_top(const std::vector<double>& score, int budget) {
  std::vector<int> order = rank_order(score, {});
  order.resize(static_cast<size_t>(budget));
  return LayerPlan::of(static_cast<int>(score.size()), std::move(order));
}

LayerPlan all_but(int layers, int linear_layer) {
  LayerPlan plan = LayerPlan::all_full(layers);
  std::erase(plan.full, linear_layer);
  return plan;
}

LayerPlan only(int layers, int full_layer) { return LayerPlan::of(layers, {full_layer}); }

std::vector<LayerPlan> each_all_but(int layers) {
  std::vector<LayerPlan> plans;
  for (int l = 0; l < layers; ++l) plans.push_back(all_but(layers, l));
  return plans;
}

std::vector<LayerPlan> each_only(int layers) {
  std::vector<LayerPlan> plans;
  for (int l = 0; l < layers; ++l) plans.push_back(only(layers, l));
  return plans;
}

}  // namespace flashmorph
