// SPDX-License-Identifier: Apache-2.0
#include "core/select/ga_s2.h"

#include "core/select/ranking.h"

namespace flashmorph {

SelectorResult select_ga_s2(const SelectorInput& input, Calibration& calibration) {
  const int L = calibration.model().layers();
  std::vector<LayerPlan> plans = each_only(L);
  plans.push_back(LayerPlan::all_linear(L));
  const std::vector<TextMetrics> measured = calibration.text_metrics(plans);
  SelectorResult result;
  for (int l = 0; l < L; ++l) result.score.push_back(-measured[static_cast<size_t>(l)].kl_nats);
  result.plan = keep_top(result.score, input.budget);
  result.detail = {{"steps", 0}, {"all_linear_kl_nats", measured.back().kl_nats}};
  return result;
}

}  // namespace flashmorph
