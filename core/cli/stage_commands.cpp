// SPDX-License-Identifier: Apache-2.0
// align, gates, select, eval, compare and run from the command line: the same jobs that the server runs.
#include <fmt/format.h>

#include "core/cli/hybrid_commands.h"
#include "core/cli/program.h"
#include "core/cli/reports.h"
#include "core/cli/stage_flags.h"
#include "core/cli/stage_run.h"
#include "core/jobs/hybrid_source.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

int align_body(CommandContext& context, const RunConfig& config) {
  const auto session = open_session(context, config, false);
  OpenRun open(*session, config, "align", context);
  AlignResult result;
  if (open.run([&](const Job& job, bool resumed) { return (result = run_align_job(job, resumed)).stopped; }))
    stopped(config, open.recorder().folder(), "align");
  nlohmann::json json = report_align(context.console, result);
  finish(context, open.recorder(), json);
  print_json(context, json);
  return 0;
}

int gates_body(CommandContext& context, const RunConfig& config) {
  const auto session = open_session(context, config, true);
  session->model();
  OpenRun open(*session, config, "gates", context);
  GatesOutcome outcome;
  if (open.run([&](const Job& job, bool resumed) { return (outcome = run_gates_job(job, resumed)).result.stopped; }))
    stopped(config, open.recorder().folder(), "gates");
  nlohmann::json json = report_gates(context.console, outcome);
  finish(context, open.recorder(), json);
  print_json(context, json);
  return 0;
}

int select_body(CommandContext& context, const RunConfig& config) {
  const auto session = open_session(context, config, true);
  session->model();
  OpenRun open(*session, config, "select", context);
  SelectOutcome outcome;
  open.run([&](const Job& job, bool) {
    outcome = run_select_job(job);
    return false;
  });
  nlohmann::json json = report_select(context.console, outcome, budget_of(config, session->teacher().layers()));
  finish(context, open.recorder(), json);
  print_json(context, json);
  return 0;
}

// The aligned branches an existing run was made with, when --aligned does not say.
void borrow_branches(Session& session, const RunConfig& config) {
  if (session.has_branches() || config.run.empty()) return;
  try {
    const std::filesystem::path folder = find_run(config, config.run);
    const std::filesystem::path own = folder / "checkpoints" / "branches.safetensors";
    if (std::filesystem::exists(own)) {
      session.load_branches(own);
      return;
    }
    const nlohmann::json made = open_run(folder).record.config;
    const std::string aligned = made.value("aligned", std::string());
    if (!aligned.empty()) session.load_branches(find_branches(config, aligned));
  } catch (const Error& error) {
    if (error.code() != ErrorCode::not_found) throw;
  }
}

int eval_body(CommandContext& context, const RunConfig& config, bool compare) {
  const auto session = open_session(context, config, true);
  borrow_branches(*session, config);
  OpenRun open(*session, config, "eval", context);
  EvalOutcome outcome;
  std::vector<NamedPlan> plans;
  const bool halted = open.run([&](const Job& job, bool) {
    const RunRecord record = job.recorder.record();
    std::vector<std::string> words = config.plans;
    if (words.empty() && config.weights != "aligned") words = {hybrid_file_info(weights_file(job)).plan.to_string()};
    if (words.empty()) {
      for (const SavedPlan& plan : record.plans)
        if (plan.origin == "budget" || plan.origin == record.gates.score_method) words.push_back(plan.id);
      if (session->has_branches()) words.insert(words.end(), {"uniform", "linear"});
      words.emplace_back("teacher");
    }
    plans = plans_of(words, config, record, session->teacher().layers());
    if (compare && plans.size() < 2)
      throw Error("compare", ErrorCode::bad_request, "compare needs at least two plans", "name them with --plans");
    outcome = run_eval_job(job, eval_set_of(config, record), plans);
    return outcome.stopped;
  });
  if (halted) stopped(config, open.recorder().folder(), compare ? "compare" : "eval");
  nlohmann::json json = report_eval(context.console, outcome, session->teacher().config(), !compare);
  if (compare) json["paired"] = report_paired(context.console, outcome);
  if (!config.truth.empty()) json["ranks"] = report_ranks(context.console, plans, read_plan_truth(config.truth));
  finish(context, open.recorder(), json);
  print_json(context, json);
  return 0;
}

// NAME, NAME-2, ...: the first under which `run` has left nothing yet. Without a name of its own an interrupted run cannot be
// told from a finished one, so --resume needs --run.
std::string free_base(const RunConfig& config, const std::string& name) {
  if (config.resume)
    throw Error("run", ErrorCode::bad_request, "--resume needs the name of the run", "add --run NAME");
  for (int n = 1;; ++n) {
    std::string base = n == 1 ? name : fmt::format("{}-{}", name, n);
    const std::filesystem::path folder = runs_folder(config);
    if (!std::filesystem::exists(folder / (base + "-align")) && !std::filesystem::exists(folder / (base + "-gates"))) return base;
  }
}

// The whole way: align (unless branches are given) -> gates -> plan -> recall maps of the chosen, the uniform, the all-linear plan
// and the teacher, all in runs beside each other.
int run_body(CommandContext& context, const RunConfig& config) {
  const auto session = open_session(context, config, true);
  nlohmann::json json = nlohmann::json::object();
  RunConfig gates = config;
  gates.command = "gates";
  const std::string base = config.run.empty() ? free_base(config, session->teacher().config().name) : config.run;
  if (!session->has_branches()) {
    RunConfig align = config;
    align.command = "align";
    align.run = base + "-align";
    bool done = false;
    if (config.resume) {
      try {
        const std::filesystem::path folder = find_run(config, align.run);
        done = open_run(folder).record.state == "finished";
        align.resume = !done;
        if (done) session->load_branches(folder);
      } catch (const Error& error) {
        if (error.code() != ErrorCode::not_found) throw;
        align.resume = false;
      }
    }
    if (!done) {
      OpenRun open(*session, align, "align", context);
      AlignResult result;
      if (open.run([&](const Job& job, bool resumed) { return (result = run_align_job(job, resumed)).stopped; })) {
        RunConfig again = config;
        again.run = base;
        again.resume = true;
        throw Error("run", ErrorCode::stopped, fmt::format("everything so far is kept in {}", open.recorder().folder().path.string()),
                    "go on with: " + command_line(again));
      }
      json["align"] = report_align(context.console, result);
      finish(context, open.recorder(), json["align"]);
      gates.aligned = open.recorder().folder().path.string();
    } else {
      gates.aligned = find_run(config, align.run).string();
    }
  }
  gates.run = base + "-gates";
  if (gates.resume) {
    try {
      find_run(config, gates.run);
    } catch (const Error&) {
      gates.resume = false;
    }
  }
  OpenRun open(*session, gates, "gates", context);
  GatesOutcome chosen;
  EvalOutcome outcome;
  const bool halted = open.run([&](const Job& job, bool resumed) {
    const RunRecord before = job.recorder.record();
    if (resumed && before.gates.score.size() == static_cast<size_t>(before.layers)) {
      const GateScore score = before.score();
      chosen.solution = solve_budget(score.score, score.tie_break, budget_of(gates, before.layers), locks_of(gates, before.layers));
      chosen.plan_id = before.plans.empty() ? "" : before.plans.front().id;
      chosen.result.score = score.score;
      context.console.note("gates are trained already: going on with the evaluation");
    } else {
      chosen = run_gates_job(job, resumed);
      if (chosen.result.stopped) return true;
      json["gates"] = report_gates(context.console, chosen);
    }
    const RunRecord record = job.recorder.record();
    std::vector<std::string> words = config.plans;
    if (words.empty()) words = {chosen.plan_id, "uniform", "linear", "teacher"};
    outcome = run_eval_job(job, eval_set_of(config, record), plans_of(words, gates, record, session->teacher().layers()));
    return outcome.stopped;
  });
  if (halted) {
    RunConfig again = config;
    again.run = base;
    again.resume = true;
    throw Error("run", ErrorCode::stopped, fmt::format("everything so far is kept in {}", open.recorder().folder().path.string()),
                "go on with: " + command_line(again));
  }
  json["eval"] = report_eval(context.console, outcome, session->teacher().config(), true);
  json["paired"] = report_paired(context.console, outcome);
  if (!config.truth.empty()) {
    std::vector<NamedPlan> plans;
    for (const PlanEvaluation& one : outcome.plans) plans.push_back(one.plan);
    json["ranks"] = report_ranks(context.console, plans, read_plan_truth(config.truth));
  }
  finish(context, open.recorder(), json);
  context.console.line(fmt::format("plan     {}", (open.recorder().folder().exports() / "hybrid_config.json").string()));
  print_json(context, json);
  return 0;
}

std::function<CommandBody(CLI::App&)> command(const std::string& name, int (*body)(CommandContext&, const RunConfig&),
                                             const std::string& footer) {
  return [=](CLI::App& app) -> CommandBody {
    const StageFlags flags(app, name);
    app.footer(footer);
    return [=](CommandContext& context) {
      const RunConfig config = flags.config();
      Console console(config.json, config.quiet);
      CommandContext own{console, context.stop, context.command};
      return body(own, config);
    };
  };
}

}  // namespace

std::vector<std::pair<std::string, std::function<CommandBody(CLI::App&)>>> stage_commands() {
  return {
      {"align", command("align", align_body,
                        "Example: flashmorph align --model DIR --text corpus.txt --align-steps 300 --run my-align\n"
                        "Leaves checkpoints/branches.safetensors in the run; give the run to the next commands with --aligned.")},
      {"gates", command("gates", gates_body,
                        "Example: flashmorph gates --model DIR --aligned my-align --budget 7 --run my-gates\n"
                        "The preset `recommended` is the start: answer supervision with a penalty fitted to the budget; `paper` is\n"
                        "the published objective.")},
      {"select", command("select", select_body, "Example: flashmorph select --model DIR --aligned my-align --method swap_nll --budget 7")},
      {"distill", command("distill", hybrid_body,
                          "Example: flashmorph distill --model DIR --aligned my-align --plan 28:1,11-14,16,21 --text corpus.txt --run my-hybrid\n"
                          "Leaves checkpoints/hybrid.safetensors; eval and compare take it with --run my-hybrid --weights distilled.\n"
                          "--plans A B C trains each with the same tokens and ends in one table; --preflight trains nothing.")},
      {"finetune", command("finetune", hybrid_body,
                           "Example: flashmorph finetune --model DIR --init my-hybrid --finetune-length 16384 --text corpus.txt --run my-long")},
      {"eval", command("eval", [](CommandContext& c, const RunConfig& config) { return eval_body(c, config, false); },
                       "Example: flashmorph eval --model DIR --run my-gates --lengths 512,1024,2048 --trials 16\n"
                       "Only missing cells are computed; every plan sees the same prompts.")},
      {"compare", command("compare", [](CommandContext& c, const RunConfig& config) { return eval_body(c, config, true); },
                          "Example: flashmorph compare --model DIR --run my-gates --plans 28:1,11-14,16,21 uniform teacher\n"
                          "Differences are against the first plan, trial by trial.")},
      {"run", command("run", run_body, "Example: flashmorph run --model DIR --budget 7 --run first\nInterrupted: the same with --resume.")},
  };
}

}  // namespace flashmorph
