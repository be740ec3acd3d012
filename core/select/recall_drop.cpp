// SPDX-License-Identifier: Apache-2.0
#include "core/select/recall_drop.h"

#include "core/select/ranking.h"

namespace flashmorph {

SelectorResult select_recall_drop(const SelectorInput& input, Calibration& calibration) {
  const int L = calibration.model().layers();
  std::vector<LayerPlan> plans = each_all_but(L);
  plans.push_back(LayerPlan::all_full(L));
  const std::vector<AnswerScore> measured = calibration.answer_scores(plans);
  SelectorResult result;
  std::vector<double> recall;
  for (int l = 0; l < L; ++l) {
    recall.push_back(measured[static_cast<size_t>(l)].recall);
    result.score.push_back(measured.back().recall - recall.back());
  }
  result.plan = keep_top(result.score, input.budget);
  result.detail = {{"teacher_recall", measured.back().recall}, {"recall", recall}};
  return result;
}

}  // namespace flashmorph
