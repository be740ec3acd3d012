// SPDX-License-Identifier: Apache-2.0
// Any other selector as a job: calibration prompts are drawn, the method runs, score and plan are kept in the run.
#pragma once

#include "core/jobs/job.h"
#include "core/run/budget_solver.h"
#include "core/select/selector.h"

namespace flashmorph {

struct SelectOutcome {
  SelectorResult result;
  BudgetSolution solution;  ///< of the scores at the config's budget and locks
  std::string plan_id;
};

/// Calibration prompts: `samples` prompts of the gate stage's options, at the seed of the config. The kept plan is the method's own
/// (greedy and exact are more than a top K) unless layers are locked.
SelectOutcome run_select_job(const Job& job);

}  // namespace flashmorph
