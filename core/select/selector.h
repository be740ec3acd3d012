// SPDX-License-Identifier: Apache-2.0
// Layer selectors other than the gates (method 5): one pair of files per method, named as its id; this is their common border.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/eval/recall_evaluator.h"
#include "core/eval/text_metrics.h"
#include "core/run/layer_plan.h"

namespace flashmorph {

/// What selectors measure on: calibration prompts (with answers) and text, fixed before the first evaluation.
struct SelectorInput {
  const MorphModel* model = nullptr;
  std::vector<Sample> prompts;      ///< calibration prompts
  const TextSource* text = nullptr; ///< for swap_kl, ga_s2
  int64_t text_tokens = 8192, text_length = 512;
  int budget = 0;                   ///< K
  uint64_t seed = 1;
  int offset = 0;                   ///< uniform
  double quality_floor = 0;         ///< greedy_drop: stop when the answer NLL exceeds the teacher's by more, nats; 0: none
  std::string local_tokens = "answer";  ///< local_mse, local_rel: answer | all
  std::vector<double> recall_metric, control_metric;  ///< halo: R and C per layer, if given; else measured (recall, -KL)
};

struct SelectorResult {
  std::string method;
  std::vector<double> score;        ///< [L], higher = keep; order-based methods: K - position of choice, 0 for the rest
  LayerPlan plan;                   ///< kept set at the budget
  int64_t evaluations = 0;          ///< of a whole plan on the calibration set
  int64_t tokens = 0, forwards = 0, backwards = 0;
  double seconds = 0;
  nlohmann::json detail;            ///< what a method has to say beside: closed-form alphas, the path of greedy, ...
};

/// method: an id of method 5.1. Throws Error(bad_request) listing the ids that exist; Error(stopped) when the flag is set.
SelectorResult run_selector(const std::string& method, const SelectorInput& input, const ProgressCallback& progress,
                            const StopFlag& stop);
/// Ids of run_selector with a sentence each.
const std::vector<std::pair<std::string, std::string>>& selector_methods();

}  // namespace flashmorph
