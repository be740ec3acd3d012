// SPDX-License-Identifier: Apache-2.0
// Evaluates every plan of small budgets: a walk over the tree of plans, layer by layer, batch by
// batch, resumable.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/load/passkey_data.h"
#include "core/model/morph_model.h"
#include "core/run/progress.h"
#include "core/select/plan_truth.h"

namespace flashmorph {

/// Prompts of one length.
struct LengthPrompts {
  int64_t length = 0;  ///< tokens, the label in the table
  std::vector<Sample> prompts;
};

/// All plans of 1..max_budget layers of `model`, with all linear and all full as brackets, on every
/// prompt. Every plan sees the same prompts. For each batch the plans are walked depth first,
/// keeping the stream of each depth, so that a layer runs once per distinct beginning (10 layers, K
/// <= 4: 1028 layer passes instead of 3870). start: an unfinished table of the same prompts to go
/// on from, or a fresh PlanTruth; its hashes, evaluation and command are kept. on_batch: after each
/// finished batch, with the table so far (write it to disk to be able to resume). When the flag is
/// set the table as of the last finished batch comes back, complete() == false.
/// Throws Error(bad_request) when there are no prompts, too many plans (kExact_limit) or `start`
/// belongs to other prompts.
PlanTruth evaluate_all_plans(const MorphModel& model,
                             const std::vector<LengthPrompts>& prompts_by_length, int max_budget,
                             PlanTruth start, const std::function<void(const PlanTruth&)>& on_batch,
                             const ProgressCallback& progress, const StopFlag& stop);

}  // namespace flashmorph
