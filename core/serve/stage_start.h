// SPDX-License-Identifier: Apache-2.0
// From the parameters of x.start to a job that can be queued: run, choices, model, branches.
#pragma once

#include <nlohmann/json.hpp>

#include "core/serve/engine.h"
#include "core/serve/job_run.h"

namespace flashmorph {

/// Fills what a request leaves open: folder of runs, the loaded model and branches; handles become
/// paths. Throws Error(bad_request) naming an option.
RunConfig settle_config(Engine& engine, const Stage& stage, const nlohmann::json& options);

/// A start: with resume the run's own options, changed by those given. Promises the name of a new
/// run. Throws Error(bad_request, not_found, no_model, run_in_use).
StagePlan plan_stage(Engine& engine, const Stage& stage, const nlohmann::json& params);

}  // namespace flashmorph
