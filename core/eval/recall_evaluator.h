// SPDX-License-Identifier: Apache-2.0
// Recall by length and depth, one definition everywhere (method 6): a trial is one prompt; score = share of answer tokens right,
// teacher forced; hit if all are right; answer NLL beside it; greedy generation on request.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/load/needle_data.h"
#include "core/load/passkey_data.h"
#include "core/model/morph_model.h"
#include "core/run/eval_set.h"
#include "core/run/progress.h"
#include "core/run/recall_grid.h"

namespace flashmorph {

/// One prompt's outcome.
struct TrialResult {
  double score = 0;      ///< share of answer tokens whose argmax is right
  bool hit = false;
  double nll_nats = 0;   ///< mean over answer tokens
  bool generated_hit = false;  ///< greedy generation reproduces the answer (only if asked for)
};

/// Scores a batch of prompts of one length under M(plan). Logits exist on answer rows only.
std::vector<TrialResult> score_prompts(const MorphModel& model, const LayerPlan& plan, const std::vector<Sample>& prompts,
                                       bool generate = false);

class RecallEvaluator {
 public:
  /// tokenizer, background text and task come with the eval set (passkey or needle).
  RecallEvaluator(const MorphModel& model, const Tokenizer& tokenizer, const TextSource& background, EvalSet set);

  /// Fills the cells of `grid` that are missing for `plan`: first 4 trials everywhere from short to long, then the full count.
  /// Trial r of a cell is the same prompt for every plan. Stops within 2 s of the flag and keeps finished cells.
  /// on_cell(length index, depth index) after every change of a cell.
  void run(const LayerPlan& plan, RecallGrid& grid, const std::function<void(int, int)>& on_cell, const StopFlag& stop) const;

 private:
  const MorphModel& model_;
  EvalSet set_;
  std::unique_ptr<PasskeyData> passkeys_;
  std::unique_ptr<NeedleData> needles_;
};

/// Mean answer NLL (nats per answer token) and recall of plans over one fixed set of prompts: what selectors minimise.
struct AnswerScore {
  double nll_nats = 0, recall = 0;
};
AnswerScore answer_score(const MorphModel& model, const LayerPlan& plan, const std::vector<Sample>& prompts, const StopFlag* stop = nullptr);

}  // namespace flashmorph
