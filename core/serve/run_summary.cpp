// SPDX-License-Identifier: Apache-2.0
#include "core/serve/run_summary.h"

#include <cmath>

namespace flashmorph {

namespace fs = std::filesystem;
using Json = nlohmann::json;

namespace {

// Mean recall of a plan with the run's best weights, over any set that is complete enough to say.
double recall_of(const RunRecord& record, const SavedPlan& plan) {
  double found = RecallCell::kMissing;
  for (const SetEvaluations& set : record.evals)
    for (const Evaluation& one : set.evaluations)
      if (one.plan_id == plan.id && (std::isnan(found) || one.weights == "distilled"))
        found = one.grid.mean_score();
  return found;
}

Json summary(Engine& engine, const fs::path& run, bool details) {
  const RunFolder folder{run};
  const RunRecord record = engine.shelf.record(run);
  std::error_code ignored;
  RunNotes notes;
  try {
    notes = read_notes(folder);
  } catch (const Error&) {
    // Notes that cannot be read hide no run.
  }
  const fs::path keeper = weights_run(run, record, engine.shelf.folder());
  const std::string handle = engine.shelf.known_handle(run);
  Json json{{"name", run.filename().string()},
            {"path", run.string()},
            {"title", notes.name},
            {"notes", notes.notes},
            {"uuid", record.uuid},
            {"parent_uuid", record.parent_uuid},
            {"kind", record.kind},
            {"state", record.state},
            {"created_utc", record.created_utc},
            {"revision", record.revision},
            {"run_file_bytes", fs::file_size(folder.run_file(), ignored)},
            {"layers", record.layers},
            {"steps", record.rows()},
            {"last_step", record.rows() ? record.steps.step.back() : 0},
            {"checkpoint", has_checkpoint(folder, record.kind)},
            {"model", record.model.value("name", std::string())},
            {"method", record.kind == "gates"    ? "gates"
                       : record.kind == "select" ? record.gates.score_method
                                                 : ""},
            {"weights_run", keeper.filename().string()}};
  if (!handle.empty()) json["run"] = handle;
  if (const SavedPlan* plan = chosen_plan_of(record)) {
    json["plan"] = plan->plan.to_string();
    json["budget"] = plan->plan.budget();
    double recall = recall_of(record, *plan);
    if (std::isnan(recall) && keeper != run) {
      const RunRecord kept = engine.shelf.record(keeper);
      if (const SavedPlan* same = kept.find_plan(plan->plan)) recall = recall_of(kept, *same);
    }
    json["recall"] = std::isnan(recall) ? Json() : Json(recall);
  }
  if (!handle.empty())
    if (const auto job = engine.queue.job_of_run(handle)) json["active_job"] = job->to_string();
  if (details) {
    Json sets = Json::array();
    for (const SetEvaluations& set : record.evals) sets.push_back(set.set.name);
    json.update(
        {{"config", record.config}, {"provenance", record.provenance}, {"eval_sets", sets}});
  }
  return json;
}

}  // namespace

const SavedPlan* chosen_plan_of(const RunRecord& record) {
  if (record.kind == "align") return nullptr;
  for (const SavedPlan& plan : record.plans)
    if (plan.origin == "budget" || plan.origin == record.gates.score_method) return &plan;
  if ((record.kind == "distill" || record.kind == "finetune") && !record.plans.empty())
    return &record.plans.front();
  return nullptr;
}

Json run_summary(Engine& engine, const fs::path& run, bool details) {
  try {
    return summary(engine, run, details);
  } catch (const Error& error) {
    if (details) throw;
    return {{"name", run.filename().string()}, {"path", run.string()}, {"error", error.message()}};
  }
}

}  // namespace flashmorph
