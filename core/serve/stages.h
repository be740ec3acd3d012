// SPDX-License-Identifier: Apache-2.0
// The stages a client can start: one row each.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "core/jobs/job.h"
#include "core/serve/job_queue.h"

namespace flashmorph {

/// What a stage is to the server. run gets a job whose session has the teacher and, if asked for,
/// the branches; it records, tells and leaves checkpoints itself.
struct Stage {
  std::string name;  ///< command, run kind and method prefix
  bool needs_branches = false;
  bool trains_hybrid = false;  ///< distill, finetune: plan, init and preflight are theirs
  bool makes_branches =
      false;  ///< the run's checkpoints/branches.safetensors are the session's when done
  std::string why_not_pausable;  ///< empty: it leaves a checkpoint when stopped
  std::function<WorkEnd(const Job&, bool resumed)> run;
  std::function<double(const RunConfig&, int layers)>
      tokens;  ///< that a start works through, for estimates
};

/// All but eval, which has rules of its own (eval_start.h), and export, which needs no session
/// (export_start.h).
const std::vector<Stage>& stages();
const Stage* find_stage(const std::string& name);

}  // namespace flashmorph
