// SPDX-License-Identifier: Apache-2.0
// One turn of a job on the worker: model, branches, run folder, recorder, and the right state of
// the run whatever happens.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "core/jobs/job.h"
#include "core/serve/engine.h"
#include "core/serve/stages.h"

namespace flashmorph {

/// The choices of a training or selecting job, settled when it was started.
struct StagePlan {
  const Stage* stage = nullptr;
  RunConfig config;
  std::filesystem::path run;  ///< its folder, there or reserved
  std::string handle, command;
  bool fresh = true;               ///< nothing is there yet, or an empty run of run.create
  std::filesystem::path branches;  ///< file; empty: none
};

/// Throws what the job throws; the run is closed as finished, paused, cancelled or failed.
WorkEnd run_stage(Engine& engine, const StagePlan& plan, const JobTurn& turn);

/// Events to the outbox (job states excepted: those are the queue's), progress through the meter,
/// notes as log lines; waits for room at each event.
JobListener listener_for(Engine& engine, const JobTurn& turn, ProgressMeter& meter,
                         std::function<std::optional<int64_t>()> work_left = {});

/// State of a run whose job stopped.
std::string state_when_stopped(StopCause cause, bool resumable);

}  // namespace flashmorph
