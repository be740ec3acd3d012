// SPDX-License-Identifier: Apache-2.0
// A fixed set of prompts with answers, asked of many layer plans: score, hit and answer NLL as
// method 6 defines them.
#pragma once

#include <functional>
#include <vector>

#include "core/eval/plan_sweep.h"
#include "core/eval/prompt_batch.h"
#include "core/model/morph_model.h"

namespace flashmorph {

/// One prompt's outcome.
struct TrialResult {
  double score = 0;            ///< share of answer tokens whose argmax is right, teacher forced
  bool hit = false;            ///< all of them are
  double nll_nats = 0;         ///< mean over answer tokens
  double generated_score = 0;  ///< the same two of greedy generation (only if asked for)
  bool generated_hit = false;
};

/// What selectors minimize: means over one fixed set of prompts.
struct AnswerScore {
  double nll_nats = 0;  ///< mean over all answer tokens
  double recall = 0;    ///< mean over prompts of the share of right answer tokens
};

/// done of total plan evaluations on one batch each.
using SweepProgress = std::function<void(int64_t done, int64_t total)>;

class AnswerProbe {
 public:
  /// Builds the batches once; every plan sees the same ones (paired). Throws as group_prompts.
  AnswerProbe(const MorphModel& model, const std::vector<Sample>& prompts);

  size_t prompts() const { return prompts_; }
  int64_t tokens() const;  ///< of the prompts, without padding

  /// Results in the order of `plans`, each in the order of the prompts. Plans share prefixes
  /// (sweep_plans). cost is added to. Throws Error(stopped), Error(non_finite) naming the plan.
  std::vector<std::vector<TrialResult>> trials(const std::vector<LayerPlan>& plans,
                                               SweepCost* cost = nullptr,
                                               const SweepProgress& progress = {},
                                               const StopFlag* stop = nullptr) const;
  /// Means of the same.
  std::vector<AnswerScore> scores(const std::vector<LayerPlan>& plans, SweepCost* cost = nullptr,
                                  const SweepProgress& progress = {},
                                  const StopFlag* stop = nullptr) const;

  const std::vector<PromptBatch>& batches() const { return batches_; }

 private:
  const MorphModel& model_;
  size_t prompts_;
  std::vector<int64_t> answers_;  // answer tokens of each prompt
  std::vector<PromptBatch> batches_;
};

/// The outcomes of one batch from its answer rows' states: [n, D].
std::vector<TrialResult> trials_of_rows(const Teacher& teacher, const PromptBatch& batch,
                                        const at::Tensor& states, const StopFlag* stop = nullptr);

}  // namespace flashmorph
