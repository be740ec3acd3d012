// SPDX-License-Identifier: Apache-2.0
#include "core/serve/eval_start.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/jobs/hybrid_source.h"
#include "core/run/error.h"
#include "core/serve/failure.h"
#include "core/serve/job_run.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

using Json = nlohmann::json;

// The grid of a plan as far as the record knows it; nothing if it does not.
const RecallGrid* known_grid(const RunRecord& record, const EvalSet& set, const LayerPlan& plan,
                             const std::string& weights) {
  const SavedPlan* saved = record.find_plan(plan);
  if (!saved) return nullptr;
  for (const SetEvaluations& one : record.evals)
    if (one.set.id() == set.id() && one.set.hash() == set.hash())
      for (const Evaluation& evaluation : one.evaluations)
        if (evaluation.plan_id == saved->id && evaluation.weights == weights)
          return &evaluation.grid;
  return nullptr;
}

struct Known {
  int cells = 0;  // with all trials
  int64_t trials = 0;
  double tokens_left = 0;
};

Known known_of(const RecallGrid* grid, const EvalSet& set) {
  Known known;
  for (size_t n = 0; n < set.lengths.size(); ++n)
    for (size_t d = 0; d < set.depths.size(); ++d) {
      const int there = grid ? grid->at(static_cast<int>(n), static_cast<int>(d)).trials : 0;
      known.trials += there;
      if (there >= set.trials) ++known.cells;
      known.tokens_left += static_cast<double>(std::max(0, set.trials - there)) *
                           static_cast<double>(set.lengths[n]);
    }
  return known;
}

EvalSet set_of(const RunConfig& config, const Json& params, const RunRecord& home,
               const RunRecord& record) {
  for (const RunRecord* one : {&home, &record})
    for (const SetEvaluations& known : one->evals)
      if (!config.set.empty() && known.set.name == config.set) return known.set;
  bool spelled_out = config.set.empty();
  for (const char* key : {"task", "lengths", "depths", "trials", "passkeys", "passkey_words"})
    spelled_out = spelled_out || params.contains(key);
  if (!spelled_out) {
    std::string names;
    for (const SetEvaluations& known : home.evals)
      names += (names.empty() ? "" : ", ") + known.set.name;
    throw Error("eval", ErrorCode::not_found,
                fmt::format("there is no eval set \"{}\"", config.set.substr(0, 64)),
                names.empty() ? "save one with eval_set.save, or give lengths, depths and trials"
                              : "there are " + names);
  }
  return eval_set_of(config, home);
}

// What the run chose: the plan of its gates or method.
std::vector<std::string> chosen_plan(const RunRecord& record) {
  for (const SavedPlan& plan : record.plans)
    if (plan.origin == "budget" || plan.origin == record.gates.score_method) return {plan.id};
  throw Error("eval", ErrorCode::bad_request, "no plan was named, and the run has chosen none",
              "give plan");
}

}  // namespace

std::optional<double> eval_seconds(const Engine& engine, const std::string& model,
                                   const RunRecord& home, double tokens, std::string& from) {
  if (const auto rate = engine.rates.tokens_per_s(model, "eval")) {
    from = "measured";
    return tokens / *rate;
  }
  const auto recorded = home.provenance.find("eval_tokens_per_s");
  if (recorded != home.provenance.end() && recorded->is_number() && recorded->get<double>() > 0) {
    from = "recorded";
    return tokens / recorded->get<double>();
  }
  // Two operations per weight and token: a small model on two cores makes about 6e10 a second.
  const auto size = [&](const char* key) {
    return home.model.contains(key) && home.model[key].is_number() ? home.model[key].get<double>()
                                                                   : 0;
  };
  const double hidden = size("hidden"),
               weights = size("layers") * hidden * (4 * hidden + 3 * size("ffn")) +
                         hidden * size("vocab");
  const ModelInfo info = engine.model.info();
  from = "guessed";
  if (weights <= 0) return std::nullopt;
  return tokens * 2 * weights / (info.device.starts_with("cuda") ? 1e14 : 6e10);
}

EvalPlan plan_evaluation(Engine& engine, const Json& params) {
  EvalPlan plan;
  Json options = params;
  const bool brackets = params.value("brackets", true);
  plan.slot = params.value("slot", std::string());
  if (params.contains("plan")) {
    if (params.contains("plans"))
      throw Error("eval", ErrorCode::bad_request, "eval.start: plan and plans in one request",
                  "give one");
    options["plans"] = Json::array({params["plan"]});
  }
  for (const char* key : {"plan", "slot", "brackets", "resume"}) options.erase(key);
  if (!options.contains("run"))
    throw Error("eval", ErrorCode::bad_request, "eval.start: run: expected a run",
                "name the run whose plans and weights are meant");
  if (!options.contains("text_tokens")) options["text_tokens"] = 0;
  RunConfig& config = plan.config = run_config_of(options, "eval.start", "eval");
  const bool distilled = config.weights == "distilled";
  if (config.weights != "aligned" && !distilled)
    throw Error("eval", ErrorCode::not_found,
                fmt::format("there are no weights \"{}\"", config.weights.substr(0, 64)),
                "weights are aligned or distilled");

  plan.run = engine.shelf.find(config.run);
  if (config.runs.empty()) config.runs = engine.shelf.folder().string();
  if (!config.aligned.empty()) config.aligned = engine.shelf.path_or_word(config.aligned);
  const RunRecord record = engine.shelf.record(plan.run);
  if (distilled) {
    const LayerPlan trained = hybrid_file_info(find_hybrid(config, plan.run.string())).plan;
    if (config.plans.empty()) config.plans = {trained.to_string()};
    config.aligned.clear();
  }
  plan.branches = distilled ? fs::path()
                  : config.aligned.empty()
                      ? branches_of_run(plan.run, record, engine.shelf.folder())
                      : find_branches(config, config.aligned);
  plan.home = config.aligned.empty() && !distilled
                  ? weights_run(plan.run, record, engine.shelf.folder())
                  : plan.run;
  const RunRecord home = plan.home == plan.run ? record : engine.shelf.record(plan.home);
  plan.home_handle = engine.shelf.handle_of(plan.home);
  plan.set = set_of(config, params, home, record);
  plan.plans = plans_of(config.plans.empty() ? chosen_plan(record) : config.plans, config, record,
                        record.layers);
  const size_t asked = plan.plans.size();
  for (const NamedPlan& one : plan.plans) {
    const Known known = known_of(known_grid(home, plan.set, one.plan, config.weights), plan.set);
    plan.cells += static_cast<int>(plan.set.lengths.size() * plan.set.depths.size());
    plan.cached += known.cells;
  }
  if (brackets && !distilled)  // distilled weights know their own plan only
    for (const char* word : {"linear", "teacher"}) {
      NamedPlan bracket{word, "bracket",
                        std::string(word) == "teacher" ? LayerPlan::all_full(record.layers)
                                                       : LayerPlan::all_linear(record.layers)};
      const bool is_asked =
          std::any_of(plan.plans.begin(), plan.plans.end(),
                      [&](const NamedPlan& one) { return one.plan == bracket.plan; });
      const Known known =
          known_of(known_grid(home, plan.set, bracket.plan, config.weights), plan.set);
      if (!is_asked && known.tokens_left > 0 &&
          !(plan.branches.empty() && bracket.plan.budget() == 0))
        plan.plans.insert(plan.plans.begin(), std::move(bracket));
    }
  plan.brackets = plan.plans.size() - asked;
  for (const NamedPlan& one : plan.plans) {
    const Known known = known_of(known_grid(home, plan.set, one.plan, config.weights), plan.set);
    plan.trials +=
        static_cast<int64_t>(plan.set.lengths.size() * plan.set.depths.size()) * plan.set.trials;
    plan.trials_cached += known.trials;
    plan.tokens_left += known.tokens_left;
  }

  if (config.model.empty()) {
    config.model = engine.model.info().path;
    if (config.model.empty()) config.model = record.config.value("model", std::string());
    if (config.model.empty())
      throw Error("eval", ErrorCode::no_model, "no model is loaded", "load one, or give model");
  }
  if (plan.branches.empty() && !distilled &&
      std::any_of(plan.plans.begin(), plan.plans.end(),
                  [](const NamedPlan& one) { return one.plan.budget() < one.plan.layers; }))
    throw Error("eval", ErrorCode::no_model, "the run has no aligned branches",
                "align first, or give aligned");
  config.run = plan.home.string();
  config.set = plan.set.name;
  config.plans.clear();
  for (const NamedPlan& one : plan.plans) config.plans.push_back(one.plan.to_string());
  if (!distilled && plan.home == plan.run && !plan.branches.empty() &&
      plan.branches.filename() != "branches.safetensors")
    config.aligned = plan.branches.string();
  plan.command = command_line(config);
  plan.estimate_s = plan.tokens_left > 0 ? eval_seconds(engine, config.model, home,
                                                        plan.tokens_left, plan.estimate_from)
                                         : 0;
  if (plan.estimate_from.empty()) plan.estimate_from = "measured";
  return plan;
}

WorkEnd run_evaluation(Engine& engine, const EvalPlan& plan, const JobTurn& turn) {
  const RunConfig& config = plan.config;
  use_threads(config);
  // The device and dtype of a loaded model are kept: an evaluation does not ask for others.
  const ModelInfo info = engine.model.info();
  const bool loaded = info.state == "loaded" && info.path == config.model &&
                      config.device == "auto" && config.dtype == "auto";
  Session& session = loaded ? engine.model.load(config.model, info.device, info.dtype)
                            : engine.model.load(config.model, config.device, config.dtype);
  if (turn.stop.is_set()) return WorkEnd::stopped;
  if (plan.branches.empty())
    engine.model.forget_branches();
  else
    engine.model.use_branches(plan.branches);
  RunInHand run = open_job_run(session, config, "eval", plan.command);
  const std::string state = run.record.state;
  const std::shared_ptr<Recorder> recorder =
      engine.shelf.open_recorder(run.folder, std::move(run.record));
  ProgressMeter meter(turn.id.to_string());
  double tokens = 0;
  JobListener listener = listener_for(engine, turn, meter, [&] {
    return static_cast<int64_t>(std::max(0.0, plan.tokens_left - tokens));
  });
  const auto tell = listener.event;
  listener.event = [&](const Event& event) {
    if (const auto* cells = std::get_if<EvalCellsEvent>(&event))
      for (const CellUpdate& cell : cells->cells)
        tokens += static_cast<double>(cell.new_trials.size()) *
                  static_cast<double>(plan.set.lengths[static_cast<size_t>(cell.length_index)]);
    tell(event);
  };
  const auto progress = listener.progress;
  listener.progress = [&](const std::string& stage, const Progress& told,
                          const std::string& extra) {
    Progress counted = told;
    counted.tokens = static_cast<int64_t>(tokens);
    progress(stage, counted, extra);
  };
  const Job job{session, config, *recorder, turn.stop, listener, turn.id.to_string(), plan.command};
  try {
    const EvalOutcome outcome = run_eval_job(job, plan.set, plan.plans);
    engine.rates.note(config.model, "eval", meter.tokens_per_s());
    if (std::isfinite(meter.tokens_per_s()))
      recorder->edit([&](RunRecord& record) {
        record.provenance["eval_tokens_per_s"] = meter.tokens_per_s();
      });
    engine.shelf.close_recorder(run.folder.path, state);
    return outcome.stopped ? WorkEnd::stopped : WorkEnd::finished;
  } catch (...) {
    try {
      engine.shelf.close_recorder(run.folder.path, state);
    } catch (const std::exception&) {
      // The first error is the one to tell.
    }
    throw;
  }
}

}  // namespace flashmorph
