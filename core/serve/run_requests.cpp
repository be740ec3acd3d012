// SPDX-License-Identifier: Apache-2.0
// Requests about runs, their plans and their eval sets.
#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "core/load/checkpoint.h"
#include "core/run/strict_json.h"
#include "core/serve/requests.h"
#include "core/serve/run_summary.h"

namespace flashmorph {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Where = Dispatcher::Where;

std::vector<int> layers_of(const Json& params, const char* key) {
  std::vector<int> layers;
  if (!params.contains(key)) return layers;
  for (const Json& one : params[key]) {
    if (!one.is_number_integer())
      throw Error("run", ErrorCode::bad_request,
                  fmt::format("plan.save: {}: expected layer numbers", key));
    layers.push_back(one.get<int>());
  }
  return layers;
}

Json list_runs_of(Engine& engine, const Json& params) {
  const fs::path folder =
      params.contains("runs") ? fs::path(params["runs"].get<std::string>()) : engine.shelf.folder();
  const int64_t offset = params.value("offset", int64_t{0}),
                limit = params.value("limit", int64_t{200});
  if (offset < 0 || limit < 1 || limit > 1000)
    throw Error("run", ErrorCode::bad_request,
                "run.list: expected offset >= 0 and limit from 1 to 1000");
  const std::vector<std::string> names = list_runs(folder);
  Json runs = Json::array();
  for (size_t i = static_cast<size_t>(offset);
       i < names.size() && runs.size() < static_cast<size_t>(limit); ++i)
    runs.push_back(run_summary(engine, folder / names[i], false));
  return {{"folder", folder.string()}, {"total", names.size()}, {"runs", runs}};
}

Json create(Engine& engine, const Json& params) {
  const std::string kind = params["kind"];
  static const std::vector<std::string> kKinds = {"align", "gates",   "select",
                                                  "eval",  "distill", "finetune"};
  if (std::find(kKinds.begin(), kKinds.end(), kind) == kKinds.end())
    throw Error(
        "run", ErrorCode::bad_request,
        fmt::format("run.create: kind: {} is none of align, gates, select, eval, distill, finetune",
                    quote(kind)));
  const ModelInfo loaded = engine.model.info();
  const std::string model = params.value("model", loaded.path);
  if (model.empty())
    throw Error("run", ErrorCode::no_model, "no model is loaded", "load one, or give model");
  int layers = loaded.layers;
  std::string name = loaded.name;
  if (model != loaded.path || layers == 0) {
    const ModelConfig config = inspect_checkpoint(model);
    layers = static_cast<int>(config.layers);
    name = config.name;
  }
  RunRecord record = new_run_record(kind, layers);
  record.config = {{"command", kind}, {"model", model}};
  record.model = {{"name", name}, {"layers", layers}};
  if (params.contains("parent"))
    record.parent_uuid = engine.shelf.record(engine.shelf.find(params["parent"])).uuid;
  const fs::path path = engine.shelf.reserve(params.value("name", kind));
  const RunFolder folder = create_run(path.parent_path(), path.filename().string(), record);
  if (params.contains("title") || params.contains("notes"))
    write_notes(folder, {params.value("title", ""), params.value("notes", "")});
  engine.shelf.handle_of(folder.path);
  return run_summary(engine, folder.path, false);
}

// A dead engine's journal goes into the file, and a state nobody works on is put right.
Json open(Engine& engine, const Json& params) {
  const fs::path path = engine.shelf.find(params["run"]);
  OpenedRun opened = open_run(path);
  const bool nobody =
      !engine.shelf.is_open(path) && !engine.queue.job_of_run(engine.shelf.known_handle(path));
  const bool left = nobody && opened.record.state == "running";
  if (nobody && (opened.journal_rows > 0 || left)) {
    try {
      const RunFolder folder{path};
      const std::string kind = opened.record.kind;
      if (left) opened.record.state = has_checkpoint(folder, kind) ? "paused" : "cancelled";
      const std::string state = opened.record.state;
      engine.shelf.open_recorder(folder, std::move(opened.record));
      engine.shelf.close_recorder(path, state);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::run_in_use) throw;  // another engine is at work on it
    }
  }
  engine.shelf.handle_of(path);
  Json json = run_summary(engine, path, true);
  json["journal_rows"] = opened.journal_rows;
  return json;
}

Json annotate(Engine& engine, const Json& params) {
  const RunFolder folder{engine.shelf.find(params["run"])};
  RunNotes notes = read_notes(folder);
  notes.name = params.value("title", notes.name);
  notes.notes = params.value("notes", notes.notes);
  if (notes.name.size() > 1000 || notes.notes.size() > (1 << 20))
    throw Error("run", ErrorCode::bad_request,
                "run.annotate: a title has at most 1000 bytes, notes 1 MiB");
  write_notes(folder, notes);
  return {{"title", notes.name}, {"notes", notes.notes}};
}

Json save_plan(Engine& engine, const Json& params) {
  const fs::path run = engine.shelf.find(params["run"]);
  const LayerPlan plan = LayerPlan::parse(params["plan"].get<std::string>());
  const std::string name = params.value("name", plan.to_string()).substr(0, 64),
                    origin = params.value("origin", "hand").substr(0, 32);
  const std::vector<int> full = layers_of(params, "lock_full"),
                         linear = layers_of(params, "lock_linear");
  Json result;
  engine.shelf.edit(run, [&](RunRecord& record) {
    if (plan.layers != record.layers)
      throw Error("run", ErrorCode::plan_impossible,
                  fmt::format("plan {} is for {} layers, the run's model has {}", plan.to_string(),
                              plan.layers, record.layers));
    std::vector<Lock> locks;
    if (!full.empty() || !linear.empty())
      locks.assign(static_cast<size_t>(record.layers), Lock::free);
    for (const auto& [list, lock] :
         {std::pair{&full, Lock::full}, std::pair{&linear, Lock::linear}})
      for (const int layer : *list) {
        if (layer < 0 || layer >= record.layers)
          throw Error("run", ErrorCode::bad_request,
                      fmt::format("locked layer {} is outside 0..{}", layer, record.layers - 1));
        if (plan.is_full(layer) != (lock == Lock::full))
          throw Error("run", ErrorCode::plan_impossible,
                      fmt::format("layer {} is locked against the plan", layer));
        locks[static_cast<size_t>(layer)] = lock;
      }
    const std::string id = record.keep_plan(plan, name, origin, locks);
    for (SavedPlan& saved : record.plans)
      if (saved.id == id) {
        if (params.contains("name") || saved.name.empty()) saved.name = name;
        if (!locks.empty()) saved.locks = locks;
        result = {
            {"id", id}, {"plan", plan.to_string()}, {"name", saved.name}, {"origin", saved.origin}};
      }
  });
  return result;
}

Json list_plans(Engine& engine, const Json& params) {
  Json plans = Json::array();
  for (const SavedPlan& plan : engine.shelf.record(engine.shelf.find(params["run"])).plans) {
    Json full = Json::array(), linear = Json::array();
    for (size_t i = 0; i < plan.locks.size(); ++i) {
      if (plan.locks[i] == Lock::full) full.push_back(i);
      if (plan.locks[i] == Lock::linear) linear.push_back(i);
    }
    plans.push_back({{"id", plan.id},
                     {"name", plan.name},
                     {"origin", plan.origin},
                     {"plan", plan.plan.to_string()},
                     {"lock_full", full},
                     {"lock_linear", linear}});
  }
  return {{"plans", plans}};
}

fs::path keeper_of(Engine& engine, const std::string& run) {
  const fs::path path = engine.shelf.find(run);
  return weights_run(path, engine.shelf.record(path), engine.shelf.folder());
}

Json save_set(Engine& engine, const Json& params) {
  const fs::path keeper = keeper_of(engine, params["run"]);
  Json fields = params;
  fields.erase("run");
  EvalSet set = EvalSet::from_json(fields, "eval_set.save");
  if (set.name.empty()) set.name = set.id();
  engine.shelf.edit(keeper, [&](RunRecord& record) { record.keep_set(set); });
  return {{"set", set.to_json()}, {"hash", set.hash()}, {"run", engine.shelf.handle_of(keeper)}};
}

Json list_sets(Engine& engine, const Json& params) {
  const fs::path keeper = keeper_of(engine, params["run"]);
  const RunRecord record = engine.shelf.record(keeper);
  Json sets = Json::array();
  for (const SetEvaluations& one : record.evals) {
    Json set = one.set.to_json(), evaluations = Json::array();
    for (const Evaluation& evaluation : one.evaluations) {
      const SavedPlan* plan = record.find_plan(evaluation.plan_id);
      const RecallGrid& grid = evaluation.grid;
      int64_t hits = 0, complete = 0;
      for (const RecallCell& cell : grid.cells) {
        hits += cell.hits;
        if (cell.trials >= grid.trials) ++complete;
      }
      evaluations.push_back({{"plan", plan ? plan->plan.to_string() : ""},
                             {"plan_id", evaluation.plan_id},
                             {"name", plan ? plan->name : ""},
                             {"weights", evaluation.weights},
                             {"cells", grid.cells.size()},
                             {"complete", complete},
                             {"trials", grid.trials_run()},
                             {"hits", hits},
                             {"score", grid.mean_score()},
                             {"nll", grid.mean_nll_nats()}});
    }
    set["hash"] = one.set.hash();
    set["evaluations"] = evaluations;
    sets.push_back(std::move(set));
  }
  return {{"run", engine.shelf.handle_of(keeper)}, {"sets", sets}};
}

}  // namespace

void add_run_methods(Dispatcher& dispatcher, Engine& engine) {
  const auto add = [&](const char* name, Json (*body)(Engine&, const Json&)) {
    dispatcher.add(name, Where::clerk,
                   [&engine, body](const Json& params, const Responder&) -> Reply {
                     return {body(engine, params)};
                   });
  };
  add("run.list", list_runs_of);
  add("run.create", create);
  add("run.open", open);
  add("run.annotate", annotate);
  add("plan.save", save_plan);
  add("plan.list", list_plans);
  add("eval_set.save", save_set);
  add("eval_set.list", list_sets);
  dispatcher.add("run.close", Where::clerk, [&](const Json& params, const Responder&) -> Reply {
    const std::string handle = engine.shelf.known_handle(engine.shelf.find(params["run"]));
    if (const auto job = engine.queue.job_of_run(handle); job && !handle.empty())
      throw Error("run", ErrorCode::busy, fmt::format("job {} works on this run", job->to_string()),
                  "wait for it or cancel it");
    engine.shelf.forget(params["run"]);
    return {};
  });
}

}  // namespace flashmorph
