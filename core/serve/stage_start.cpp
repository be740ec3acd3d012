// SPDX-License-Identifier: Apache-2.0
#include "core/serve/stage_start.h"

#include <fmt/format.h>

#include "core/jobs/hybrid_source.h"
#include "core/load/checkpoint.h"
#include "core/run/error.h"

namespace flashmorph {

namespace fs = std::filesystem;
using Json = nlohmann::json;

RunConfig settle_config(Engine& engine, const Stage& stage, const Json& options) {
  RunConfig config = run_config_of(options, stage.name, stage.name);
  if (config.runs.empty()) config.runs = engine.shelf.folder().string();
  const ModelInfo loaded = engine.model.info();
  if (config.model.empty()) {
    config.model = loaded.path;
    if (config.model.empty())
      throw Error(stage.name, ErrorCode::no_model, "no model is loaded", "load one, or give model");
  }
  // A loaded model stays where it is unless the request says otherwise.
  if (config.model == loaded.path && loaded.state == "loaded") {
    if (!options.contains("device")) config.device = loaded.device;
    if (!options.contains("dtype")) config.dtype = loaded.dtype;
  }
  if (!config.aligned.empty()) config.aligned = engine.shelf.path_or_word(config.aligned);
  if (config.aligned.empty() && stage.needs_branches && config.model == loaded.path)
    config.aligned = loaded.branches;
  if (stage.trains_hybrid) {
    config.plan = engine.shelf.path_or_word(config.plan);
    if (!config.init.empty()) config.init = engine.shelf.path_or_word(config.init);
    if (config.aligned.empty() && config.init.empty() && config.model == loaded.path)
      config.aligned = loaded.branches;
  }
  return config;
}

StagePlan plan_stage(Engine& engine, const Stage& stage, const Json& params) {
  StagePlan plan;
  plan.stage = &stage;
  Json options = params;
  const bool resume = params.value("resume", false);
  const std::string run = params.value("run", std::string());
  if (resume) {
    if (run.empty())
      throw Error(stage.name, ErrorCode::bad_request, "resume needs the run", "give run");
    plan.run = engine.shelf.find(run);
    const RunRecord record = engine.shelf.record(plan.run);
    if (record.kind != stage.name)
      throw Error(stage.name, ErrorCode::bad_request,
                  fmt::format("run {} is of kind {}, not {}", plan.run.filename().string(),
                              record.kind, stage.name));
    options = record.config.is_object() ? record.config : Json::object();
    options.update(params);
    plan.fresh = false;
  } else if (!run.empty()) {
    bool there = true;
    try {
      plan.run = engine.shelf.find(run);
    } catch (const Error&) {
      there = false;
    }
    if (there) {
      const RunRecord record = engine.shelf.record(plan.run);
      if (record.kind != stage.name || record.state != "queued" || record.rows() > 0)
        throw Error(stage.name, ErrorCode::run_in_use,
                    fmt::format("run {} exists already", plan.run.filename().string()),
                    "go on with it by resume, or choose another name");
    }
  }
  for (const char* key : {"resume", "run", "command"}) options.erase(key);
  RunConfig& config = plan.config = settle_config(engine, stage, options);
  if (stage.needs_branches) {
    if (config.aligned.empty())
      throw Error(stage.name, ErrorCode::no_model, "no aligned branches are known",
                  "align first, or give aligned");
    plan.branches = find_branches(config, config.aligned);
  }
  if (stage.trains_hybrid) {
    if (!config.plans.empty())
      throw Error(stage.name, ErrorCode::bad_request, "plans: one start trains one plan",
                  "give plan");
    const ModelInfo loaded = engine.model.info();
    hybrid_start_of(config, config.model == loaded.path && loaded.layers > 0
                                ? loaded.layers
                                : static_cast<int>(inspect_checkpoint(config.model).layers));
  }
  if (plan.run.empty()) {
    if (!run.empty() && engine.shelf.taken(run, config.runs))
      throw Error(stage.name, ErrorCode::run_in_use,
                  fmt::format("run {} exists already", run.substr(0, 100)),
                  "go on with it by resume, or choose another name");
    plan.run = engine.shelf.reserve(run.empty() ? stage.name : run, config.runs);
  }
  plan.handle = engine.shelf.handle_of(plan.run);
  if (const auto job = engine.queue.job_of_run(plan.handle))
    throw Error(stage.name, ErrorCode::run_in_use,
                fmt::format("job {} works on this run", job->to_string()),
                "wait for it or cancel it");
  config.run = plan.run.parent_path() == fs::path(config.runs) ? plan.run.filename().string()
                                                               : plan.run.string();
  config.resume = resume;
  plan.command = command_line(config);
  return plan;
}

}  // namespace flashmorph
