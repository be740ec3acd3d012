// SPDX-License-Identifier: Apache-2.0
// flashmorph truth: every plan of small budgets of a small model, measured, as the table that `compare --truth` reads.
#include <chrono>
#include <memory>

#include <fmt/format.h>

#include "core/cli/program.h"
#include "core/cli/stage_flags.h"
#include "core/eval/eval_prompts.h"
#include "core/jobs/eval_job.h"
#include "core/load/sha256.h"
#include "core/run/error.h"
#include "core/select/all_plans.h"

namespace flashmorph {

namespace {

struct Flags {
  std::string out;
  int max_budget = 4;
};

std::vector<LengthPrompts> prompts_of(const EvalPrompts& prompts) {
  const EvalSet& set = prompts.set();
  std::vector<LengthPrompts> all;
  for (size_t n = 0; n < set.lengths.size(); ++n) {
    LengthPrompts one{set.lengths[n], {}};
    for (size_t d = 0; d < set.depths.size(); ++d)
      for (int trial = 0; trial < set.trials; ++trial)
        one.prompts.push_back(prompts.prompt(static_cast<int>(n), static_cast<int>(d), trial));
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace

CommandBody add_truth_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  const StageFlags stage(app, "eval");
  app.add_option("--max-budget", flags->max_budget, "All plans of 1 to so many full layers")->capture_default_str();
  app.add_option("-o,--out", flags->out, "JSON file to write; an unfinished one is continued")->required();
  app.footer("Example: flashmorph truth --model DIR --aligned RUN --lengths 256,512 --trials 8 --max-budget 3 -o truth.json");
  return [flags, stage](CommandContext& context) {
    const at::NoGradGuard no_grad;
    const RunConfig config = stage.config();
    use_threads(config);
    const at::Device device = parse_device(config.device);
    Session session(config.model, device, parse_dtype(config.dtype, device));
    if (config.aligned.empty())
      throw Error("select", ErrorCode::bad_request, "the truth about plans needs linear branches", "give them with --aligned");
    session.load_branches(find_branches(config, config.aligned));
    const auto text = open_text(config.text, session.tokenizer());
    const EvalSet set = eval_set_of(config, {});
    const EvalPrompts prompts(session.tokenizer(), *text, set);
    PlanTruth start;
    if (std::filesystem::exists(flags->out)) start = read_plan_truth(flags->out);
    start.teacher_sha256 = session.weights_sha256();
    start.branches_sha256 = sha256_file(find_branches(config, config.aligned));
    start.evaluation = set.to_json();
    start.evaluation["background"] = text->data_sha256();
    start.evaluation["dtype"] = dtype_name(session.teacher().dtype());
    start.command = context.command_line();
    const PlanTruth truth = evaluate_all_plans(
        session.model(), prompts_of(prompts), flags->max_budget, start,
        [&](const PlanTruth& table) { write_plan_truth(flags->out, table); },
        [&](const Progress& progress) { context.console.progress("truth", progress, {}); }, context.stop);
    write_plan_truth(flags->out, truth);
    if (!truth.complete())
      throw Error("select", ErrorCode::stopped, fmt::format("{} of {} batches are in {}", truth.batches_done, truth.batches, flags->out),
                  "run the same command again to go on");
    std::vector<std::vector<std::string>> rows{{"plan", "K", "answer NLL", "recall"}};
    for (int budget = 0; budget <= truth.layers; ++budget) {
      const PlanTruthRow* best = nullptr;
      for (const PlanTruthRow& row : truth.rows)
        if (row.plan.budget() == budget && (!best || row.mean_nll_nats() < best->mean_nll_nats())) best = &row;
      if (best)
        rows.push_back({best->plan.to_string(), fmt::format("{}", budget), fmt::format("{:.4f}", best->mean_nll_nats()),
                        fmt::format("{:.3f}", best->mean_recall())});
    }
    context.console.line("best plan of each budget");
    context.console.line(text_table(rows));
    if (context.console.json()) fmt::print("{}\n", truth.to_json().dump());
    return 0;
  };
}

}  // namespace flashmorph
