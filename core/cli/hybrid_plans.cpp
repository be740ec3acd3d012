// SPDX-License-Identifier: Apache-2.0
#include "core/cli/hybrid_plans.h"

#include <algorithm>
#include <cctype>
#include <fstream>

#include <fmt/format.h>

#include "core/cli/hybrid_reports.h"
#include "core/cli/reports.h"
#include "core/cli/stage_run.h"
#include "core/cli/workbench_picture.h"
#include "core/run/error.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

constexpr size_t kPlacesOfPicture = 4;  // of view `compare`: a reference and three beside it

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

std::string base_of(const RunConfig& config) {
  return config.run.empty() ? config.command + "-plans" : config.run;
}

// The config of every plan's run, all of them checked before the first is trained.
std::vector<RunConfig> members_of(const Session& session, const RunConfig& config) {
  std::vector<RunConfig> all;
  std::vector<LayerPlan> plans;
  for (const std::string& word : words_of(config)) {
    RunConfig one = config;
    one.plans.clear();
    one.plan = word;
    one.run = base_of(config) + "-" + run_word(word);
    train_options_of(one, parse_train_stage(one.command));
    const LayerPlan plan = hybrid_start_of(one, session.teacher().layers()).plan.plan;
    for (size_t i = 0; i < all.size(); ++i)
      if (plans[i] == plan || all[i].run == one.run)
        throw Error(config.command, ErrorCode::bad_request,
                    plans[i] == plan
                        ? fmt::format("plans names {} twice", plan.to_string())
                        : fmt::format("{} and {} would both be run {}", all[i].plan, word, one.run),
                    "name each plan once");
    all.push_back(std::move(one));
    plans.push_back(plan);
  }
  return all;
}

// The run of the comparison must be free, or the one that is resumed.
void check_group_run(const RunConfig& config) {
  try {
    const fs::path folder = find_run(config, base_of(config));
    if (!config.resume)
      throw Error(config.command, ErrorCode::run_in_use,
                  fmt::format("run {} exists already", folder.string()),
                  "add --resume to go on with it, or choose another name with --run");
    if (const std::string kind = open_run(folder).record.kind; kind != "eval")
      throw Error(config.command, ErrorCode::bad_request,
                  fmt::format("run {} is of kind {}, not a comparison", folder.string(), kind),
                  "choose another name with --run");
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
  }
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

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file)
    throw Error("distill", ErrorCode::disk_full,
                fmt::format("{} could not be written", path.string()), "free some space");
}

void write_comparison(const fs::path& folder, const nlohmann::json& comparison) {
  write_text(RunFolder{folder}.exports() / "comparison.json", comparison.dump(1) + "\n");
  write_text(RunFolder{folder}.exports() / "comparison.csv", comparison_csv(comparison));
}

// Pictures of view `compare`: the first plan is the reference of each. Without the window's program
// beside this one, or when it fails, the line that makes the picture is all.
nlohmann::json paint(CommandContext& context, const fs::path& run,
                     const std::vector<LayerPlan>& plans) {
  const fs::path program = workbench_beside();
  const bool there = !program.empty() && fs::exists(program);
  nlohmann::json list = nlohmann::json::array();
  for (size_t first = 1; first < plans.size(); first += kPlacesOfPicture - 1) {
    std::vector<std::string> places{plans.front().to_string()};
    for (size_t i = first; i < std::min(plans.size(), first + kPlacesOfPicture - 1); ++i)
      places.push_back(plans[i].to_string());
    const fs::path file =
        RunFolder{run}.exports() /
        (first == 1 ? std::string("comparison.svg")
                    : fmt::format("comparison-{}.svg", first / (kPlacesOfPicture - 1) + 1));
    const auto words = picture_words("flashmorph-workbench", "compare", run, file, places);
    const std::string line = CommandContext{context.console, {}, words}.command_line();
    std::string why;
    if (there) {
      auto own = words;
      own.front() = program.string();
      why = run_words(std::move(own), std::chrono::seconds(60));
      if (why.empty() && !fs::exists(file)) why = "no file was written";
      if (!why.empty())
        context.console.note(fmt::format("the picture was not made ({}); all else is kept", why));
    }
    const bool made = there && why.empty();
    context.console.line(made ? fmt::format("picture  {}", file.string())
                              : fmt::format("picture  is made by: {}", line));
    list.push_back({{"file", file.string()}, {"made", made}, {"command", line}});
    if (!why.empty()) list.back()["failure"] = why;
  }
  return list;
}

}  // namespace

HybridOutcome train_hybrid(CommandContext& context, Session& session, const RunConfig& config,
                           nlohmann::json& json, fs::path& folder,
                           const std::function<void()>& on_stop) {
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

int train_plans(CommandContext& context, const RunConfig& config) {
  const auto session = open_session(context, config, false);
  const std::vector<RunConfig> all = members_of(*session, config);
  check_group_run(config);
  const auto go_on = [&] {
    RunConfig again = config;
    again.run = base_of(config);
    again.resume = true;
    return "go on with: " + command_line(again);
  };
  std::vector<HybridOutcome> outcomes;
  std::vector<fs::path> folders;
  nlohmann::json json{{"runs", nlohmann::json::array()}};
  for (RunConfig one : all) {
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
    outcomes.push_back(train_hybrid(context, *session, one, part, folder, [&] {
      throw Error(config.command, ErrorCode::stopped,
                  fmt::format("everything so far is kept in {} and its neighbors", folder.string()),
                  go_on());
    }));
    folders.push_back(folder);
    json["runs"].push_back(std::move(part));
  }
  RunConfig group = config;
  group.run = base_of(config);
  group.text_tokens = 0;
  if (group.resume) try {
      find_run(group, group.run);
    } catch (const Error&) {
      group.resume = false;
    }
  OpenRun open(*session, group, "eval", context);
  EvalOutcome teacher;
  std::vector<LayerPlan> plans;
  const bool halted = open.run([&](const Job& job, bool) {
    // The teacher first: only what is complete stands in the run.
    const LayerPlan full = LayerPlan::all_full(session->teacher().layers());
    const EvalSet& set = outcomes.front().set;
    job.recorder.edit([&](RunRecord& record) {
      for (const HybridOutcome& one : outcomes) {
        const std::string id = record.keep_plan(one.plan.plan, one.plan.name.substr(0, 64),
                                                one.plan.origin.substr(0, 32));
        record.grid(set, id, "distilled") = one.probes.back().grid;
      }
    });
    for (const HybridOutcome& one : outcomes) plans.push_back(one.plan.plan);
    if (std::find(plans.begin(), plans.end(), full) == plans.end()) plans.push_back(full);
    teacher = run_eval_job(job, set, {{"teacher", "bracket", full}});
    return teacher.stopped;
  });
  if (halted)
    throw Error(config.command, ErrorCode::stopped,
                "all plans are trained, the teacher's recall is not complete", go_on());
  json["comparison"] = report_comparison(context.console, outcomes, teacher.plans.front().grid);
  for (size_t i = 0; i < folders.size(); ++i)
    json["comparison"]["plans"][i]["run"] = folders[i].filename().string();
  const fs::path folder = open.recorder().folder().path;
  open.recorder().edit(
      [&](RunRecord& record) { record.provenance["comparison"] = json["comparison"]; });
  finish(context, open.recorder(), json["comparison"]);
  folders.push_back(folder);
  for (const fs::path& one : folders) write_comparison(one, json["comparison"]);
  context.console.line(
      fmt::format("table    {}", (RunFolder{folder}.exports() / "comparison.csv").string()));
  json["pictures"] = paint(context, folder, plans);
  print_json(context, json);
  return 0;
}

int preflight_plans(CommandContext& context, const RunConfig& config) {
  const auto session = open_session(context, config, false);
  std::vector<PlanForecast> forecasts;
  for (const RunConfig& one : members_of(*session, config)) {
    context.console.note(fmt::format("preflight of {}", one.plan));
    forecasts.push_back(
        {one.plan, forecast_training(*session, one, context.stop, listener_of(context.console))});
  }
  const nlohmann::json json = report_forecasts(context.console, forecasts);
  print_json(context, json);
  return json.at("starts").get<bool>() ? 0 : 1;
}

}  // namespace flashmorph
