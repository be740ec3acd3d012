// SPDX-License-Identifier: Apache-2.0
// Recall maps of plans as a job: only missing cells are computed, every plan sees the same prompts, all of it kept in the run.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/eval/text_metrics.h"
#include "core/jobs/job.h"
#include "core/run/eval_set.h"

namespace flashmorph {

/// The eval set of the config: a saved one of the run when `set` names it, else task, lengths, depths, trials, seed and passkey sizes.
EvalSet eval_set_of(const RunConfig& config, const RunRecord& record);

struct NamedPlan {
  std::string name, origin;
  LayerPlan plan;
};
/// Words of --plans: plan texts, names or ids of saved plans, teacher, linear, uniform (at the budget), uniform+OFFSET.
/// Throws Error(bad_request) listing what there is.
std::vector<NamedPlan> plans_of(const std::vector<std::string>& words, const RunConfig& config, const RunRecord& record, int layers);

struct PlanEvaluation {
  NamedPlan plan;
  std::string plan_id;
  RecallGrid grid;
  std::optional<TextMetrics> text;
};
struct EvalOutcome {
  EvalSet set;
  std::vector<PlanEvaluation> plans;
  bool stopped = false;
};

/// The hybrid that config.weights names: `distilled`, of the job's own run. Throws Error(bad_request) for other words,
/// Error(not_found) when the run has trained none.
std::filesystem::path weights_file(const Job& job);

/// With weights other than `aligned` only the plan they were trained for can be evaluated.
/// Evaluates in the order given, cached cells first. A stop keeps finished cells.
EvalOutcome run_eval_job(const Job& job, const EvalSet& set, const std::vector<NamedPlan>& plans);

}  // namespace flashmorph
