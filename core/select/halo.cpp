// SPDX-License-Identifier: Apache-2.0
#include "core/select/halo.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/select/ranking.h"

namespace flashmorph {

std::vector<double> halo_scores(const std::vector<double>& R, const std::vector<double>& C) {
  if (R.empty() || R.size() != C.size())
    throw Error(
        "select", ErrorCode::bad_request,
        fmt::format("halo needs two metrics per layer, got {} and {} values", R.size(), C.size()),
        "give both metrics for every layer");
  const double best_R = *std::max_element(R.begin(), R.end()),
               best_C = *std::max_element(C.begin(), C.end());
  std::vector<double> score;
  for (size_t l = 0; l < R.size(); ++l)
    score.push_back(std::min(50.0, (best_R - R[l]) / (best_C - C[l] + 1e-10)));
  return score;
}

SelectorResult select_halo(const SelectorInput& input, Calibration& calibration) {
  const int L = calibration.model().layers();
  const auto check = [&](const char* name, const std::vector<double>& metric) {
    const bool finite =
        std::all_of(metric.begin(), metric.end(), [](double x) { return std::isfinite(x); });
    if (!metric.empty() && (metric.size() != static_cast<size_t>(L) || !finite))
      throw Error("select", ErrorCode::bad_request,
                  fmt::format("halo: {} needs {} finite values, one per layer", name, L),
                  "give a value for every layer, or leave it out to have it measured");
  };
  check("recall_metric", input.recall_metric);
  check("control_metric", input.control_metric);
  std::vector<double> R = input.recall_metric, C = input.control_metric;
  if (R.empty())
    for (const AnswerScore& one : calibration.answer_scores(each_all_but(L)))
      R.push_back(one.recall);
  if (C.empty())
    for (const TextMetrics& one : calibration.text_metrics(each_all_but(L)))
      C.push_back(-one.nll_nats);
  SelectorResult result;
  result.score = halo_scores(R, C);
  result.plan = keep_top(result.score, input.budget);
  result.detail = {
      {"recall", R},
      {"control", C},
      {"recall_metric",
       input.recall_metric.empty() ? "recall on the calibration prompts" : "given"},
      {"control_metric",
       input.control_metric.empty() ? "-NLL on the calibration text, nats per token" : "given"}};
  return result;
}

}  // namespace flashmorph
