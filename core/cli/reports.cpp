// SPDX-License-Identifier: Apache-2.0
#include "core/cli/reports.h"

#include <cmath>
#include <fstream>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/run/error.h"
#include "core/run/text_export.h"

namespace flashmorph {

namespace {

std::string number(double value, const char* format = "{:.3f}") {
  return std::isnan(value) ? "-" : fmt::format(fmt::runtime(format), value);
}

// KV cache of the full layers and state of the linear ones (method 6), bfloat16 cache and float32 states.
double kv_bytes_per_token(const LayerPlan& plan, const ModelConfig& model) {
  return 2.0 * plan.budget() * static_cast<double>(model.kv_heads * model.head_dim) * 2.0;
}

void say_solution(Console& console, const BudgetSolution& solution, const std::string& what) {
  console.line(fmt::format("plan     {}   {}", solution.plan.to_string(), plan_strip(solution.plan)));
  if (solution.undetermined)
    console.line(fmt::format("undetermined: layers {} and {} have the same {}", solution.last_kept, solution.first_dropped, what));
  else if (solution.close)
    console.line(fmt::format("close: gap {:.4f} at the cut; layers {} lie within it", *solution.gap, fmt::join(solution.band, ", ")));
  else if (solution.gap)
    console.line(fmt::format("gap      {:.4f} between layer {} (kept) and layer {} (linear)", *solution.gap, solution.last_kept,
                             solution.first_dropped));
}

nlohmann::json solution_json(const BudgetSolution& solution) {
  nlohmann::json json{{"plan", solution.plan.to_string()},
                      {"full_layers", solution.plan.full},
                      {"budget", solution.plan.budget()},
                      {"order", solution.order},
                      {"close", solution.close},
                      {"undetermined", solution.undetermined}};
  if (solution.gap) json["gap"] = *solution.gap;
  return json;
}

}  // namespace

nlohmann::json report_align(Console& console, const AlignResult& result) {
  std::vector<std::vector<std::string>> rows{{"layer", "error before", "error after"}};
  double sum = 0;
  for (size_t l = 0; l < result.error.size(); ++l) {
    rows.push_back({fmt::format("{}", l), l < result.error_before.size() ? number(result.error_before[l], "{:.4f}") : "-",
                    number(result.error[l], "{:.4f}")});
    sum += result.error[l];
  }
  console.line("held-out relative error |y_linear - y_full|^2 / |y_full|^2");
  console.line(text_table(rows));
  if (!result.error.empty())
    console.line(fmt::format("mean {:.4f} after {} tokens in {}", sum / static_cast<double>(result.error.size()),
                             human_count(static_cast<double>(result.tokens)), human_seconds(result.seconds)));
  return {{"error_before", result.error_before}, {"error", result.error}, {"tokens", result.tokens},
          {"steps", result.steps},               {"seconds", result.seconds}};
}

nlohmann::json report_gates(Console& console, const GatesOutcome& outcome) {
  const GateResult& result = outcome.result;
  const bool path = result.score_method == "path";
  console.line(path ? "gates: score = log10 of the penalty at which the gate falls below 0.5"
                    : "gates: mean over the last 20 % of the steps; F = kept full");
  if (path) {
    std::vector<std::vector<std::string>> rows{{"layer", "score", "kept"}};
    for (size_t l = 0; l < result.score.size(); ++l)
      rows.push_back({fmt::format("{}", l), number(result.score[l]), outcome.solution.plan.is_full(static_cast<int>(l)) ? "F" : "."});
    console.line(text_table(rows));
  } else {
    console.line(gate_bars(result.score, &outcome.solution.plan));
  }
  say_solution(console, outcome.solution, "score and final gate");
  if (!result.notice.empty()) console.line("notice   " + result.notice);
  console.line(fmt::format("cost     {} tokens, {} forwards, {} backwards, {}", human_count(static_cast<double>(result.tokens)),
                           result.forwards, result.backwards, human_seconds(result.seconds)));
  nlohmann::json json = solution_json(outcome.solution);
  json["score"] = result.score;
  json["score_method"] = result.score_method;
  json["alpha"] = result.alpha;
  json["final_raw"] = result.final_raw;
  json["tokens"] = result.tokens;
  json["steps"] = result.steps;
  json["forwards"] = result.forwards;
  json["backwards"] = result.backwards;
  json["seconds"] = result.seconds;
  json["notice"] = result.notice;
  return json;
}

nlohmann::json report_select(Console& console, const SelectOutcome& outcome, int budget) {
  const SelectorResult& result = outcome.result;
  std::vector<std::vector<std::string>> rows{{"layer", "score", "kept"}};
  for (size_t l = 0; l < result.score.size(); ++l)
    rows.push_back({fmt::format("{}", l), number(result.score[l], "{:.5g}"),
                    outcome.solution.plan.is_full(static_cast<int>(l)) ? "F" : "."});
  console.line(fmt::format("{}: higher score = keep, K = {}", result.method, budget));
  console.line(text_table(rows));
  BudgetSolution shown = outcome.solution;
  say_solution(console, shown, "score");
  console.line(fmt::format("cost     {} evaluations, {} tokens, {} forwards, {}", result.evaluations,
                           human_count(static_cast<double>(result.tokens)), result.forwards, human_seconds(result.seconds)));
  nlohmann::json json = result.to_json();
  json.update(solution_json(outcome.solution));
  return json;
}

nlohmann::json report_eval(Console& console, const EvalOutcome& outcome, const ModelConfig& model, bool maps) {
  const EvalSet& set = outcome.set;
  nlohmann::json list = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows{{"plan", "K"}};
  for (const int64_t length : set.lengths) rows[0].push_back(fmt::format("@{}", length));
  for (const char* name : {"recall", "hits 95 %", "answer NLL", "text KL", "perplexity", "KV B/token"}) rows[0].push_back(name);
  for (const PlanEvaluation& one : outcome.plans) {
    std::vector<std::vector<double>> value(set.lengths.size());
    std::vector<double> by_length;
    nlohmann::json cells = nlohmann::json::array();
    for (size_t n = 0; n < set.lengths.size(); ++n) {
      double sum = 0;
      for (size_t d = 0; d < set.depths.size(); ++d) {
        const RecallCell& cell = one.grid.at(static_cast<int>(n), static_cast<int>(d));
        value[n].push_back(cell.score);
        sum += cell.score;
        const Interval interval = cell.interval();
        cells.push_back({{"length_tokens", set.lengths[n]},
                         {"depth", set.depths[d]},
                         {"trials", cell.trials},
                         {"hits", cell.hits},
                         {"score", std::isnan(cell.score) ? nlohmann::json() : nlohmann::json(cell.score)},
                         {"hits_low", interval.low},
                         {"hits_high", interval.high},
                         {"nll_nats_per_token", std::isnan(cell.nll_nats) ? nlohmann::json() : nlohmann::json(cell.nll_nats)}});
      }
      by_length.push_back(sum / static_cast<double>(set.depths.size()));
    }
    if (maps) {
      console.line(fmt::format("{}  {}", one.plan.name, plan_strip(one.plan.plan)));
      console.line(heat_map(set.lengths, set.depths, value, console.color()));
    }
    const Interval interval = one.grid.interval();
    std::vector<std::string> row{one.plan.name, fmt::format("{}", one.plan.plan.budget())};
    for (const double mean : by_length) row.push_back(number(mean));
    row.push_back(number(one.grid.mean_score()));
    row.push_back(fmt::format("{:.2f}-{:.2f}", interval.low, interval.high));
    row.push_back(number(one.grid.mean_nll_nats()));
    row.push_back(one.text ? number(one.text->kl_nats) : "-");
    row.push_back(one.text ? number(one.text->perplexity, "{:.2f}") : "-");
    row.push_back(fmt::format("{:.0f}", kv_bytes_per_token(one.plan.plan, model)));
    rows.push_back(std::move(row));
    nlohmann::json json{{"name", one.plan.name},          {"plan", one.plan.plan.to_string()},
                        {"origin", one.plan.origin},      {"budget", one.plan.plan.budget()},
                        {"recall", one.grid.mean_score()}, {"answer_nll_nats", one.grid.mean_nll_nats()},
                        {"recall_by_length", by_length},  {"cells", cells}};
    if (one.text)
      json["text"] = {{"kl_nats", one.text->kl_nats}, {"perplexity", one.text->perplexity}, {"tokens", one.text->tokens}};
    list.push_back(std::move(json));
  }
  console.line(text_table(rows));
  return {{"set", set.to_json()}, {"plans", list}};
}

nlohmann::json report_paired(Console& console, const EvalOutcome& outcome) {
  nlohmann::json list = nlohmann::json::array();
  if (outcome.plans.size() < 2) return list;
  const PlanEvaluation& reference = outcome.plans.front();
  std::vector<std::vector<std::string>> rows{
      {fmt::format("against {}", reference.plan.name), "difference", "95 %", "better", "worse", "sign test", "prompts"}};
  for (size_t i = 1; i < outcome.plans.size(); ++i) {
    const PlanEvaluation& other = outcome.plans[i];
    const PairedStatistics paired = compare(other.grid, reference.grid);
    rows.push_back({other.plan.name, number(paired.mean_difference, "{:+.3f}"),
                    fmt::format("{} to {}", number(paired.interval.low, "{:+.3f}"), number(paired.interval.high, "{:+.3f}")),
                    fmt::format("{}", paired.a_better), fmt::format("{}", paired.b_better), number(paired.sign_test_p, "{:.2g}"),
                    fmt::format("{}", paired.trials)});
    list.push_back({{"plan", other.plan.plan.to_string()},
                    {"reference", reference.plan.plan.to_string()},
                    {"mean_difference", paired.mean_difference},
                    {"low", paired.interval.low},
                    {"high", paired.interval.high},
                    {"better", paired.a_better},
                    {"worse", paired.b_better},
                    {"hits_both", paired.both},
                    {"hits_neither", paired.neither},
                    {"sign_test_p", paired.sign_test_p},
                    {"trials", paired.trials}});
  }
  console.line("recall, paired by prompt");
  console.line(text_table(rows));
  return list;
}

nlohmann::json report_ranks(Console& console, const std::vector<NamedPlan>& plans, const PlanTruth& truth) {
  nlohmann::json list = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows{{"plan", "K", "rank of this plan among all", "regret, nats", "best plan"}};
  for (const NamedPlan& plan : plans) {
    const std::optional<PlanRank> rank = rank_of(truth, plan.plan);
    if (!rank) continue;
    rows.push_back({plan.name, fmt::format("{}", plan.plan.budget()), fmt::format("{} of {}", rank->rank, rank->plans),
                    number(rank->regret_nats), rank->best.to_string()});
    list.push_back({{"plan", plan.plan.to_string()},
                    {"rank", rank->rank},
                    {"plans", rank->plans},
                    {"percentile", rank->percentile},
                    {"answer_nll_nats", rank->nll_nats},
                    {"recall", rank->recall},
                    {"regret_nats", rank->regret_nats},
                    {"best", rank->best.to_string()}});
  }
  if (list.empty())
    console.line("the truth table has no plan of these budgets");
  else
    console.line(text_table(rows));
  return list;
}

void write_tables(const RunFolder& folder, const RunRecord& record) {
  for (const std::string& name : table_names()) {
    const Table table = table_of(record, name);
    if (table.rows.empty()) continue;
    for (const auto& [ending, text] : {std::pair{".csv", table.to_csv()}, std::pair{".json", table.to_json().dump(1) + "\n"}}) {
      const std::filesystem::path path = folder.exports() / (name + ending);
      std::ofstream file(path, std::ios::binary | std::ios::trunc);
      file << text;
      file.close();
      if (!file) throw Error("export", ErrorCode::disk_full, fmt::format("{} could not be written", path.string()), "free some space");
    }
  }
}

}  // namespace flashmorph
