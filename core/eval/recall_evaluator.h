// SPDX-License-Identifier: Apache-2.0
// Recall by length and depth, one definition everywhere (method 6): a trial is one prompt; score =
// share of answer tokens right, teacher forced; hit if all are right; answer NLL beside it; greedy
// generation on request.
#pragma once

#include <functional>
#include <map>
#include <tuple>
#include <vector>

#include "core/eval/answer_probe.h"
#include "core/eval/eval_prompts.h"
#include "core/model/morph_model.h"
#include "core/run/eval_set.h"
#include "core/run/progress.h"
#include "core/run/recall_grid.h"

namespace flashmorph {

/// Whose tokens stand before an answer token: the true ones, or the model's own
/// (generated_answers.h).
enum class Scoring { teacher_forced, generated };

/// Outcomes of prompts under M(plan), in their order. Logits exist on answer rows only. With
/// `generate` the generated outcome is filled in, too. Throws Error(stopped, bad_request,
/// non_finite).
std::vector<TrialResult> score_prompts(const MorphModel& model, const LayerPlan& plan,
                                       const std::vector<Sample>& prompts, bool generate = false,
                                       const StopFlag* stop = nullptr);
/// Their means: what selectors minimize.
AnswerScore answer_score(const MorphModel& model, const LayerPlan& plan,
                         const std::vector<Sample>& prompts, const StopFlag* stop = nullptr);

/// Not to be used from two threads at once: it keeps prompts (up to 64 MiB) from plan to plan.
class RecallEvaluator {
 public:
  /// Borrows model and background. Throws as EvalPrompts.
  RecallEvaluator(const MorphModel& model, const Tokenizer& tokenizer, const TextSource& background,
                  EvalSet set);

  /// Fills the cells of `grid` that lack trials under `plan`: first 4 trials everywhere from short
  /// to long, then the full count. Trial r of a cell is the same prompt for every plan. Prompts of
  /// one length go in batches of some two seconds' work. on_cell(length index, depth index) after
  /// every change of a cell. When the flag is set it returns within one piece of a layer's work (2
  /// s): trials of finished batches are in the grid, grid.complete() tells the rest. With
  /// Scoring::generated scores and hits are those of greedy generation, the NLL stays teacher
  /// forced. Throws Error(bad_request) when the grid's axes are not the set's.
  void run(const LayerPlan& plan, RecallGrid& grid, const std::function<void(int, int)>& on_cell,
           const StopFlag& stop, Scoring scoring = Scoring::teacher_forced) const;

  const EvalSet& set() const { return prompts_.set(); }

 private:
  const Sample& prompt(int length_index, int depth_index, int trial) const;

  const MorphModel& model_;
  EvalPrompts prompts_;
  mutable std::map<std::tuple<int, int, int>, Sample> kept_;
  mutable size_t kept_tokens_ = 0;
  mutable Sample last_;  // when nothing more may be kept
};

}  // namespace flashmorph
