// SPDX-License-Identifier: Apache-2.0
#include "core/select/swap.h"

#include "core/select/ranking.h"

namespace flashmorph {

SelectorResult select_swap_nll(const SelectorInput& input, Calibration& calibration) {
  const int L = calibration.model().layers();
  std::vector<LayerPlan> plans = each_all_but(L);
  plans.push_back(LayerPlan::all_full(L));
  const std::vector<AnswerScore> measured = calibration.answer_scores(plans);
  SelectorResult result;
  std::vector<double> nll, recall;
  for (int l = 0; l < L; ++l) {
    const AnswerScore& one = measured[static_cast<size_t>(l)];
    result.score.push_back(one.nll_nats - measured.back().nll_nats);
    nll.push_back(one.nll_nats);
    recall.push_back(one.recall);
  }
  result.plan = keep_top(result.score, input.budget);
  result.detail = {{"teacher_nll_nats", measured.back().nll_nats},
                   {"teacher_recall", measured.back().recall},
                   {"nll_nats", nll},
                   {"recall", recall}};
  return result;
}

SelectorResult select_swap_kl(const SelectorInput& input, Calibration& calibration) {
  const std::vector<TextMetrics> measured =
      calibration.text_metrics(each_all_but(calibration.model().layers()));
  SelectorResult result;
  std::vector<double> nll;
  for (const TextMetrics& one : measured) {
    result.score.push_back(one.kl_nats);
    nll.push_back(one.nll_nats);
  }
  result.plan = keep_top(result.score, input.budget);
  result.detail = {{"text_nll_nats", nll}};
  return result;
}

}  // namespace flashmorph
