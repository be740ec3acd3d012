// SPDX-License-Identifier: Apache-2.0
#include "core/cli/hybrid_commands.h"

#include <fstream>

#include <fmt/format.h>

#include "core/cli/hybrid_reports.h"
#include "core/cli/reports.h"
#include "core/cli/stage_run.h"
#include "core/eval/recall_evaluator.h"
#include "core/run/error.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

void check_config(const RunConfig& config) {
  if (!config.plans.empty() && !config.plan.empty())
    throw Error(config.command, ErrorCode::bad_request, "plan and plans are both given",
                "use --plans for several, --plan for one");
  if (!config.plans.empty() && !config.init.empty())
    throw Error(config.command, ErrorCode::bad_request, "init belongs to one plan",
                "leave out --plans, or start from --aligned");
  if (config.resume && config.run.empty())
    throw Error(config.command, ErrorCode::bad_request, "--resume needs the name of the run",
                "add --run NAME");
}

// What cannot be started leaves no run behind.
void check_start(const Session& session, const RunConfig& config) {
  train_options_of(config, parse_train_stage(config.command));
  hybrid_start_of(config, session.teacher().layers());
}

std::vector<std::string> words_of(const RunConfig& config) {
  std::vector<std::string> words;
  for (const std::string& word : config.plans) {
    // "28:1,11-14" is one plan; a list of names may be split by commas.
    if (word.find(':') != std::string::npos) {
      words.push_back(word);
      continue;
    }
    for (size_t at = 0; at <= word.size();) {
      const size_t comma = std::min(word.find(',', at), word.size());
      if (comma > at) words.push_back(word.substr(at, comma - at));
      at = comma + 1;
    }
  }
  return words;
}

// A word of --plans as part of a run's name: 10:1-3 is 10_1-3; of a path its last component.
std::string run_word(const std::string& word) {
  std::string name =
      word.find(':') == std::string::npos ? fs::path(word).filename().string() : word;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '.') c = '_';
  return name;
}

HybridOutcome train(CommandContext& context, Session& session, const RunConfig& config,
                    nlohmann::json& json, fs::path& folder, const std::function<void()>& on_stop) {
  OpenRun open(session, config, config.command, context);
  folder = open.recorder().folder().path;
  HybridOutcome outcome;
  if (open.run([&](const Job& job, bool resumed) {
        return (outcome = run_hybrid_job(job, resumed)).result.stopped;
      }))
    on_stop();
  json = report_hybrid(context.console, outcome);
  finish(context, open.recorder(), json);
  return outcome;
}

// What a finished run of the group says, read back from its record.
HybridOutcome outcome_of(const RunConfig& config, const fs::path& folder) {
  const RunRecord record = open_run(folder).record;
  // Recall, unlike the losses, is kept in float32.
  HybridOutcome outcome;
  outcome.file = RunFolder{folder}.checkpoints() / "hybrid.safetensors";
  const LayerPlan plan = hybrid_file_info(outcome.file).plan;
  const SavedPlan* saved = record.find_plan(plan);
  outcome.plan = {saved ? saved->name : plan.to_string(), saved ? saved->origin : "hand", plan};
  outcome.set = eval_set_of(config, record);
  for (const SetEvaluations& set : record.evals)
    if (set.set.id() == outcome.set.id())
      for (const char* weights : {"aligned", "init", "distilled"})
        for (const Evaluation& one : set.evaluations)
          if (one.weights == weights && saved && one.plan_id == saved->id)
            outcome.probes.push_back({weights, 0, one.grid});
  const nlohmann::json known = record.provenance.value(config.command, nlohmann::json::object());
  const auto held_out = [&](const char* key) -> std::optional<HeldOut> {
    if (!known.contains(key) || !known[key].is_object()) return std::nullopt;
    return HeldOut{known[key].value("kl_nats", 0.0), known[key].value("nll_nats", 0.0)};
  };
  outcome.result.before = held_out("before");
  outcome.result.after = held_out("after");
  outcome.result.tokens = known.value("tokens", int64_t{0});
  outcome.result.steps = known.value("steps", int64_t{0});
  outcome.result.seconds = known.value("seconds", 0.0);
  return outcome;
}

RecallGrid teacher_recall(CommandContext& context, const Session& session, const RunConfig& config,
                          const EvalSet& set) {
  const MorphModel teacher(session.teacher_ptr(), std::vector<LinearBranch>());
  const auto text = open_text(config.text, session.tokenizer());
  RecallGrid grid = set.empty_grid();
  RecallEvaluator(teacher, session.tokenizer(), *text, set)
      .run(
          LayerPlan::all_full(session.teacher().layers()), grid,
          [&](int, int) {
            context.console.progress("teacher",
                                     {"prompts", grid.trials_run(),
                                      static_cast<int64_t>(grid.cells.size()) * set.trials, 0},
                                     fmt::format("recall {:.3f}", grid.mean_score()));
          },
          context.stop);
  return grid;
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file)
    throw Error("distill", ErrorCode::disk_full,
                fmt::format("{} could not be written", path.string()), "free some space");
}

// Several plans with the same data, steps and prompts, one run each, then one table.
int plans_body(CommandContext& context, const RunConfig& config) {
  const auto session = open_session(context, config, false);
  const std::vector<std::string> words = words_of(config);
  const std::string base = config.run.empty() ? "distill" : config.run;
  std::vector<RunConfig> all;
  for (const std::string& word : words) {
    RunConfig one = config;
    one.plans.clear();
    one.plan = word;
    one.run = base + "-" + run_word(word);
    check_start(*session, one);  // every plan before the first is trained
    for (const RunConfig& other : all)
      if (other.run == one.run)
        throw Error("distill", ErrorCode::bad_request, fmt::format("plans names {} twice", word),
                    "name each plan once");
    all.push_back(std::move(one));
  }
  std::vector<HybridOutcome> outcomes;
  std::vector<fs::path> folders;
  nlohmann::json json{{"runs", nlohmann::json::array()}};
  for (RunConfig& one : all) {
    fs::path folder;
    if (one.resume) {
      try {
        folder = find_run(one, one.run);
        if (open_run(folder).record.state == "finished") {
          context.console.note(fmt::format("{} is finished already", folder.filename().string()));
          outcomes.push_back(outcome_of(one, folder));
          folders.push_back(folder);
          json["runs"].push_back({{"run", folder.string()}});
          continue;
        }
      } catch (const Error& error) {
        if (error.code() != ErrorCode::not_found) throw;
        one.resume = false;
      }
    }
    context.console.note(
        fmt::format("plan {} of {}: {}", outcomes.size() + 1, all.size(), one.plan));
    nlohmann::json part;
    outcomes.push_back(train(context, *session, one, part, folder, [&] {
      RunConfig again = config;
      again.run = base;
      again.resume = true;
      throw Error("distill", ErrorCode::stopped,
                  fmt::format("everything so far is kept in {} and its neighbors", folder.string()),
                  "go on with: " + command_line(again));
    }));
    folders.push_back(folder);
    json["runs"].push_back(std::move(part));
  }
  const RecallGrid teacher = teacher_recall(context, *session, config, outcomes.front().set);
  if (!teacher.complete())
    throw Error("distill", ErrorCode::stopped,
                "all plans are trained, the teacher's recall is not complete",
                "the same command with --resume ends with the table");
  json["comparison"] = report_comparison(context.console, outcomes, teacher);
  for (const fs::path& folder : folders) {
    write_text(RunFolder{folder}.exports() / "comparison.json", json["comparison"].dump(1) + "\n");
    write_text(RunFolder{folder}.exports() / "comparison.csv", comparison_csv(json["comparison"]));
  }
  context.console.line(fmt::format(
      "table    {}", (RunFolder{folders.front()}.exports() / "comparison.csv").string()));
  print_json(context, json);
  return 0;
}

}  // namespace

int hybrid_body(CommandContext& context, const RunConfig& config) {
  check_config(config);
  if (!config.plans.empty() && !config.preflight) return plans_body(context, config);
  const auto session = open_session(context, config, false);
  if (config.preflight) {
    RunConfig one = config;
    if (!one.plans.empty()) one.plan = words_of(config).front();
    const TrainForecast forecast =
        forecast_training(*session, one, context.stop, listener_of(context.console));
    print_json(context, report_forecast(context.console, forecast));
    return forecast.starts() ? 0 : 1;
  }
  check_start(*session, config);
  nlohmann::json json;
  fs::path folder;
  train(context, *session, config, json, folder,
        [&] { stopped(config, RunFolder{folder}, config.command); });
  print_json(context, json);
  return 0;
}

}  // namespace flashmorph
