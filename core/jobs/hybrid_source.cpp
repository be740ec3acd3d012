// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/hybrid_source.h"

#include <fmt/format.h>

#include "core/load/safetensors.h"
#include "core/run/error.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

std::string uuid_of(const fs::path& file) {
  const auto metadata = SafetensorsFile(file).metadata();
  const auto found = metadata.find("run_uuid");
  return found != metadata.end() && found->second.size() == 36 ? found->second : std::string();
}

fs::path own_hybrid(const fs::path& run) {
  return RunFolder{run}.checkpoints() / "hybrid.safetensors";
}

// The plan a run stands for: that of its budget or method, or the one it trained.
NamedPlan plan_of_run(const fs::path& run) {
  const RunRecord record = open_run(run).record;
  const std::string name = run.filename().string();
  if (fs::exists(own_hybrid(run))) return {name, "distill", hybrid_file_info(own_hybrid(run)).plan};
  for (const SavedPlan& plan : record.plans)
    if (plan.origin == "budget" || plan.origin == record.gates.score_method)
      return {name, plan.origin, plan.plan};
  if (record.plans.size() == 1) return {name, record.plans[0].origin, record.plans[0].plan};
  std::string known;
  for (const SavedPlan& plan : record.plans)
    known += fmt::format("{}{}", known.empty() ? "" : ", ", plan.plan.to_string());
  throw Error("distill", ErrorCode::bad_request, fmt::format("run {} has no plan of its own", name),
              known.empty() ? "finish its gates or select job, or give a plan as text"
                            : "give one of its plans: " + known);
}

// Branches of a run: those it trained, or those it was told to use.
fs::path branches_of_run(const RunConfig& config, const fs::path& run) {
  const fs::path own = RunFolder{run}.checkpoints() / "branches.safetensors";
  if (fs::exists(own)) return own;
  const std::string aligned = open_run(run).record.config.value("aligned", std::string());
  return aligned.empty() ? fs::path() : find_branches(config, aligned);
}

std::optional<fs::path> run_named(const RunConfig& config, const std::string& word) {
  try {
    return find_run(config, word);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
    return std::nullopt;
  }
}

}  // namespace

fs::path find_hybrid(const RunConfig& config, const std::string& word) {
  if (fs::is_regular_file(word)) return word;
  const fs::path run = find_run(config, word), file = own_hybrid(run);
  if (!fs::exists(file))
    throw Error("load", ErrorCode::not_found,
                fmt::format("run {} has trained no hybrid", run.filename().string()),
                "finish its distill or finetune job first");
  return file;
}

HybridModel load_hybrid(const Session& session, const fs::path& file,
                        std::optional<TrainPart> part) {
  session.check_teacher_of(file);
  return read_hybrid(file, session.teacher_ptr(), part);
}

HybridStart hybrid_start_of(const RunConfig& config, int layers) {
  HybridStart start;
  std::optional<fs::path> run;
  if (!config.init.empty()) {
    start.init = find_hybrid(config, config.init);
    start.plan = {fs::path(config.init).filename().string(), "init",
                  hybrid_file_info(start.init).plan};
    start.parent_uuid = uuid_of(start.init);
  }
  if (!config.plan.empty()) {
    NamedPlan named;
    if (config.plan.find(':') == std::string::npos) run = run_named(config, config.plan);
    named = run ? plan_of_run(*run) : plans_of({config.plan}, config, RunRecord(), layers).front();
    if (!config.init.empty() && named.plan != start.plan.plan)
      throw Error(config.command, ErrorCode::bad_request,
                  fmt::format("plan {} is not that of {}, {}", named.plan.to_string(), config.init,
                              start.plan.plan.to_string()),
                  "leave out --plan, or start from aligned branches");
    if (config.init.empty()) start.plan = std::move(named);
  } else if (config.init.empty()) {
    throw Error(config.command.empty() ? "distill" : config.command, ErrorCode::bad_request,
                "no plan given",
                "give --plan L:LAYERS, a run, or uniform; or --init with a trained run");
  }
  if (start.plan.plan.layers != layers)
    throw Error("distill", ErrorCode::plan_impossible,
                fmt::format("plan {} is for {} layers, the model has {}",
                            start.plan.plan.to_string(), start.plan.plan.layers, layers));
  if (!start.init.empty()) return start;
  if (!config.aligned.empty())
    start.branches = find_branches(config, config.aligned);
  else if (run)
    start.branches = branches_of_run(config, *run);
  if (start.branches.empty() && start.plan.plan.budget() < layers)
    throw Error("distill", ErrorCode::no_model,
                "the linear layers have no aligned branches to start from",
                "run `flashmorph align` first and give its run with --aligned");
  if (!start.branches.empty()) {
    if (!fs::exists(start.branches))
      throw Error("load", ErrorCode::not_found,
                  fmt::format("{} does not exist", start.branches.string()),
                  "give the folder of a finished align run, or a branches.safetensors");
    start.parent_uuid = uuid_of(start.branches);
  }
  if (run) start.parent_uuid = open_run(*run).record.uuid;
  return start;
}

HybridModel make_hybrid(const Session& session, const HybridStart& start, TrainPart part) {
  if (!start.init.empty()) return load_hybrid(session, start.init, part);
  if (start.branches.empty())
    return {session.teacher_ptr(),
            std::vector<BranchOptions>(static_cast<size_t>(start.plan.plan.layers)),
            start.plan.plan, part, 0};
  session.check_teacher_of(start.branches);
  return hybrid_of_branches(start.branches, session.teacher_ptr(), start.plan.plan, part);
}

}  // namespace flashmorph
