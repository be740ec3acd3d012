// SPDX-License-Identifier: Apache-2.0
#include "core/select/greedy.h"

#include <algorithm>

#include "core/run/error.h"
#include "core/select/ranking.h"

namespace flashmorph {

namespace {

nlohmann::json round_of(int layer, const AnswerScore& score) {
  return {{"layer", layer}, {"nll_nats", score.nll_nats}, {"recall", score.recall}};
}

}  // namespace

SelectorResult select_greedy_add(const SelectorInput& input, Calibration& calibration) {
  const int L = calibration.model().layers(), K = input.budget;
  calibration.expect(int64_t{K} * (2 * L - K + 1) / 2);
  SelectorResult result;
  result.score.assign(static_cast<size_t>(L), 0.0);
  result.plan = LayerPlan::all_linear(L);
  nlohmann::json path = nlohmann::json::array();
  while (result.plan.budget() < K) {
    std::vector<int> candidates;
    std::vector<LayerPlan> plans;
    for (int l = 0; l < L; ++l) {
      if (result.plan.is_full(l)) continue;
      std::vector<int> full = result.plan.full;
      full.push_back(l);
      candidates.push_back(l);
      plans.push_back(LayerPlan::of(L, std::move(full)));
    }
    const std::vector<AnswerScore> measured = calibration.answer_scores(plans);
    size_t best = 0;
    for (size_t i = 1; i < measured.size(); ++i)
      if (measured[i].nll_nats < measured[best].nll_nats) best = i;
    result.score[static_cast<size_t>(candidates[best])] = K - result.plan.budget();
    result.plan = plans[best];
    path.push_back(round_of(candidates[best], measured[best]));
  }
  result.detail = {{"path", path}};
  return result;
}

SelectorResult select_greedy_drop(const SelectorInput& input, Calibration& calibration) {
  const int L = calibration.model().layers(), K = input.budget;
  if (input.quality_floor < 0)
    throw Error("select", ErrorCode::bad_request, "greedy_drop: quality_floor must not be negative",
                "give nats, or 0 for none");
  calibration.expect((int64_t{L} * (L + 1) - int64_t{K} * (K + 1)) / 2 + 1);
  SelectorResult result;
  result.plan = LayerPlan::all_full(L);
  const AnswerScore teacher = calibration.answer_scores({result.plan}).front();
  std::vector<int> dropped;
  nlohmann::json path = nlohmann::json::array();
  bool floor_reached = false;
  while (result.plan.budget() > K && !floor_reached) {
    std::vector<LayerPlan> plans;
    for (const int l : result.plan.full) {
      plans.push_back(result.plan);
      std::erase(plans.back().full, l);
    }
    const std::vector<AnswerScore> measured = calibration.answer_scores(plans);
    size_t best = 0;
    for (size_t i = 1; i < measured.size(); ++i)
      if (measured[i].nll_nats <= measured[best].nll_nats) best = i;
    floor_reached =
        input.quality_floor > 0 && measured[best].nll_nats > teacher.nll_nats + input.quality_floor;
    if (floor_reached) break;
    dropped.push_back(result.plan.full[best]);
    path.push_back(round_of(dropped.back(), measured[best]));
    result.plan = plans[best];
  }
  result.score.assign(static_cast<size_t>(L), static_cast<double>(dropped.size()) + 1.0);
  for (size_t round = 0; round < dropped.size(); ++round)
    result.score[static_cast<size_t>(dropped[round])] = static_cast<double>(round) + 1.0;
  result.detail = {
      {"teacher_nll_nats", teacher.nll_nats}, {"path", path}, {"floor_reached", floor_reached}};
  return result;
}

}  // namespace flashmorph
