// SPDX-License-Identifier: Apache-2.0
// Layer selectors other than the gates (method 5): one pair of files per method, named as its id;
// this is their common border.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/eval/answer_probe.h"
#include "core/eval/text_metrics.h"
#include "core/run/layer_plan.h"
#include "core/run/progress.h"

namespace flashmorph {

/// What selectors measure on: calibration prompts (with answers) and text, fixed before the first
/// evaluation.
struct SelectorInput {
  const MorphModel* model = nullptr;
  std::vector<Sample> prompts;       ///< calibration prompts
  const TextSource* text = nullptr;  ///< for swap_kl, ga_s2, and halo's control
  int64_t text_tokens = 8192, text_length = 512;
  int budget = 0;  ///< K
  uint64_t seed = 1;
  int offset = 0;  ///< uniform
  double quality_floor =
      0;  ///< greedy_drop: stop before the answer NLL exceeds the teacher's by more, nats; 0: none
  std::string local_tokens = "answer";  ///< local_mse, local_rel: answer | all
  std::vector<double> recall_metric,
      control_metric;  ///< halo: R and C per layer; empty: measured (recall, -text NLL)
};

struct SelectorResult {
  std::string method;
  std::vector<double> score;  ///< [L], higher = keep; greedy_add: K - position of choice, 0 for the
                              ///< rest; greedy_drop: round of the drop, one more for layers never
                              ///< dropped; uniform: 1 kept, 0 not
  std::vector<int> ranking;  ///< layers by falling score, ties by lower index
  LayerPlan plan;            ///< kept set at the budget
  uint64_t seed = 1;
  nlohmann::json options;   ///< what the method was asked with: budget, sizes of the calibration
                            ///< data, its own options
  int64_t evaluations = 0;  ///< of a whole plan on the calibration set
  int64_t tokens = 0;       ///< evaluations x their tokens, as if each were run alone
  int64_t forwards =
      0;  ///< passes of one batch through the whole model really run (layer passes / L, rounded up)
  int64_t backwards = 0;
  double flops = 0;  ///< of those passes, without the head
  double seconds = 0;
  nlohmann::json
      detail;  ///< what a method has to say beside: closed-form alphas, the path of greedy, ...

  nlohmann::json to_json() const;
};

/// method: an id of method 5.1. Throws Error(bad_request) listing the ids that exist, or naming
/// what the method lacks (prompts, text, a possible budget); Error(stopped) when the flag is set.
SelectorResult run_selector(const std::string& method, const SelectorInput& input,
                            const ProgressCallback& progress, const StopFlag& stop);
/// Ids of run_selector with a sentence each.
const std::vector<std::pair<std::string, std::string>>& selector_methods();

}  // namespace flashmorph
