// SPDX-License-Identifier: Apache-2.0
// An evaluation from request to work: which run keeps it, which plans it covers, what of it is
// known.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/jobs/eval_job.h"
#include "core/serve/engine.h"

namespace flashmorph {

struct EvalPlan {
  RunConfig config;                ///< run: folder of the home
  std::filesystem::path run;       ///< the run asked about
  std::filesystem::path home;      ///< the run that made the weights and keeps the evaluation
  std::filesystem::path branches;  ///< empty: none
  std::string home_handle, command, slot;
  EvalSet set;
  std::vector<NamedPlan> plans;  ///< in order, brackets first
  size_t brackets = 0;           ///< of them
  int cells = 0, cached = 0;     ///< of the plans asked for
  int64_t trials = 0, trials_cached = 0;
  double tokens_left = 0;
  std::optional<double> estimate_s;
  std::string estimate_from;  ///< measured, recorded, guessed
};

/// params: as eval.start. Throws Error(bad_request, not_found, no_model, plan_impossible).
EvalPlan plan_evaluation(Engine& engine, const nlohmann::json& params);

/// The work of the job. Finished cells stay in the home run whatever happens.
WorkEnd run_evaluation(Engine& engine, const EvalPlan& plan, const JobTurn& turn);

/// Seconds for so many tokens: measured in this session, recorded in the run, or guessed from the
/// size of the model.
std::optional<double> eval_seconds(const Engine& engine, const std::string& model,
                                   const RunRecord& home, double tokens, std::string& from);

}  // namespace flashmorph
