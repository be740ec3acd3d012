// SPDX-License-Identifier: Apache-2.0
// Stage 2 as a job: gates are trained and recorded, the budget makes a plan of them.
#pragma once

#include "core/jobs/job.h"
#include "core/run/budget_solver.h"
#include "core/train/gate_trainer.h"

namespace flashmorph {

GateOptions gate_options_of(const RunConfig& config, int layers);

struct GatesOutcome {
  GateResult result;
  BudgetSolution solution;   ///< at the config's budget and locks; empty plan when stopped
  std::string plan_id;       ///< under which the run keeps it
};

/// Trains gates on the session's branches. Leaves score and plan in the run, exports/hybrid_config.json beside; when stopped,
/// checkpoints/gates.safetensors to go on from.
GatesOutcome run_gates_job(const Job& job, bool resumed);

}  // namespace flashmorph
