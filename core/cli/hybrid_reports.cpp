// SPDX-License-Identifier: Apache-2.0
#include "core/cli/hybrid_reports.h"

#include <cmath>

#include <fmt/format.h>

namespace flashmorph {

namespace {

std::string number(double value, const char* format = "{:.3f}") {
  return std::isnan(value) ? "-" : fmt::format(fmt::runtime(format), value);
}

std::vector<std::vector<double>> values_of(const RecallGrid& grid) {
  std::vector<std::vector<double>> value(grid.lengths.size());
  for (size_t n = 0; n < grid.lengths.size(); ++n)
    for (size_t d = 0; d < grid.depths.size(); ++d)
      value[n].push_back(grid.at(static_cast<int>(n), static_cast<int>(d)).score);
  return value;
}

std::vector<double> by_length(const RecallGrid& grid) {
  std::vector<double> means;
  for (const std::vector<double>& column : values_of(grid)) {
    double sum = 0;
    for (const double score : column) sum += score;
    means.push_back(sum / static_cast<double>(column.size()));
  }
  return means;
}

nlohmann::json finite(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
}

nlohmann::json held_out_json(const std::optional<HeldOut>& value) {
  if (!value) return {};
  return {{"kl_nats", finite(value->kl_nats)},
          {"nll_nats", finite(value->nll_nats)},
          {"perplexity", finite(std::exp(value->nll_nats))}};
}

nlohmann::json probe_json(const RecallProbe& probe) {
  return {{"weights", probe.weights},
          {"step", probe.step},
          {"recall", finite(probe.grid.mean_score())},
          {"recall_by_length", by_length(probe.grid)},
          {"answer_nll_nats", finite(probe.grid.mean_nll_nats())},
          {"trials", probe.grid.trials_run()}};
}

}  // namespace

nlohmann::json report_forecast(Console& console, const TrainForecast& forecast) {
  std::vector<std::vector<std::string>> rows{{"memory", "predicted"}};
  for (const auto& [name, bytes] : forecast.choice.forecast.parts())
    if (bytes > 0) rows.push_back({name, human_bytes(static_cast<double>(bytes))});
  if (rows.size() > 1) {
    rows.push_back({"peak", human_bytes(static_cast<double>(forecast.choice.forecast.total()))});
    if (forecast.measured_peak) {
      rows.push_back({"peak measured", human_bytes(static_cast<double>(*forecast.measured_peak))});
      rows.push_back(
          {"of it tensors", human_bytes(static_cast<double>(*forecast.measured_tensors))});
    }
    console.line(text_table(rows));
  }
  for (const ForecastRow& row : forecast.rows) {
    console.line(fmt::format("{:<5} {:<8} {}", row.level, row.name, row.text));
    for (const ForecastCure& cure : row.cures)
      console.line(fmt::format("               cure: {}", cure.text));
  }
  return forecast.to_json();
}

nlohmann::json report_forecasts(Console& console, const std::vector<PlanForecast>& forecasts) {
  nlohmann::json plans = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows{
      {"plan", "peak", "measured", "disk", "tokens/s", "time", "starts"}};
  int64_t peak = 0, weights = 0, checkpoint = 0;
  std::optional<int64_t> free;
  std::optional<double> seconds = 0.0;
  bool starts = !forecasts.empty();
  const auto bytes = [](int64_t value) { return human_bytes(static_cast<double>(value)); };
  for (const auto& [name, forecast] : forecasts) {
    console.line(fmt::format("plan     {}", name));
    nlohmann::json json = report_forecast(console, forecast);
    console.line();
    json["name"] = name;
    plans.push_back(std::move(json));
    peak = std::max(peak, forecast.measured_peak.value_or(forecast.choice.forecast.total()));
    weights += forecast.disk_weights;
    checkpoint = std::max(checkpoint, forecast.disk_checkpoint);
    if (forecast.disk_free) free = forecast.disk_free;
    seconds = seconds && forecast.estimate_s ? std::optional(*seconds + *forecast.estimate_s)
                                             : std::nullopt;
    starts = starts && forecast.starts();
    rows.push_back({name, bytes(forecast.choice.forecast.total()),
                    forecast.measured_peak ? bytes(*forecast.measured_peak) : "-",
                    bytes(forecast.disk_weights + forecast.disk_checkpoint),
                    forecast.tokens_per_s ? human_count(*forecast.tokens_per_s) : "-",
                    forecast.estimate_s ? human_seconds(*forecast.estimate_s) : "-",
                    forecast.starts() ? "yes" : "no"});
  }
  // One after another: every run keeps its weights, a checkpoint lies there for one at a time.
  const int64_t disk = weights + checkpoint;
  const bool fits = !free || *free >= disk;
  rows.push_back({"all", bytes(peak), "", bytes(disk), "", seconds ? human_seconds(*seconds) : "-",
                  starts && fits ? "yes" : "no"});
  console.line(text_table(rows));
  if (!fits)
    console.line(
        fmt::format("stop  disk     {} for all plans, {} are free", bytes(disk), bytes(*free)));
  return {{"plans", plans},
          {"total",
           {{"peak_bytes", peak},
            {"disk_bytes", disk},
            {"disk_free_bytes", free ? nlohmann::json(*free) : nlohmann::json()},
            {"estimate_s", seconds ? nlohmann::json(*seconds) : nlohmann::json()}}},
          {"starts", starts && fits}};
}

nlohmann::json report_hybrid(Console& console, const HybridOutcome& outcome) {
  std::vector<std::vector<std::string>> rows{{"weights", "step"}};
  for (const int64_t length : outcome.set.lengths) rows[0].push_back(fmt::format("@{}", length));
  for (const char* name : {"recall", "hits 95 %", "answer NLL"}) rows[0].push_back(name);
  nlohmann::json probes = nlohmann::json::array();
  for (const RecallProbe& probe : outcome.probes) {
    const Interval interval = probe.grid.interval();
    std::vector<std::string> row{probe.weights, fmt::format("{}", probe.step)};
    for (const double mean : by_length(probe.grid)) row.push_back(number(mean));
    row.push_back(number(probe.grid.mean_score()));
    row.push_back(fmt::format("{:.2f}-{:.2f}", interval.low, interval.high));
    row.push_back(number(probe.grid.mean_nll_nats()));
    rows.push_back(std::move(row));
    probes.push_back(probe_json(probe));
  }
  console.line(fmt::format("plan     {}   {}", outcome.plan.plan.to_string(),
                           plan_strip(outcome.plan.plan)));
  for (size_t i = 0; i < outcome.probes.size(); ++i) {
    if (i > 0 && i + 1 < outcome.probes.size()) continue;
    console.line(outcome.probes[i].weights);
    console.line(heat_map(outcome.set.lengths, outcome.set.depths,
                          values_of(outcome.probes[i].grid), console.color()));
  }
  console.line(text_table(rows));
  const TrainResult& result = outcome.result;
  if (result.before && result.after)
    console.line(fmt::format("held out KL {:.4f} to {:.4f} nats, perplexity {:.2f} to {:.2f}",
                             result.before->kl_nats, result.after->kl_nats,
                             std::exp(result.before->nll_nats), std::exp(result.after->nll_nats)));
  console.line(fmt::format("cost     {} tokens in {} steps, {}",
                           human_count(static_cast<double>(result.tokens)), result.steps,
                           human_seconds(result.seconds)));
  console.line(fmt::format("weights  {}", outcome.file.string()));
  return {{"plan", outcome.plan.plan.to_string()},
          {"set", outcome.set.to_json()},
          {"probes", probes},
          {"before", held_out_json(result.before)},
          {"after", held_out_json(result.after)},
          {"tokens", result.tokens},
          {"steps", result.steps},
          {"seconds", result.seconds},
          {"weights", outcome.file.string()}};
}

nlohmann::json report_comparison(Console& console, const std::vector<HybridOutcome>& outcomes,
                                 const RecallGrid& teacher) {
  nlohmann::json list = nlohmann::json::array();
  std::vector<std::vector<std::string>> rows{{"plan", "K", "recall before", "after"}};
  const EvalSet& set = outcomes.front().set;
  for (const int64_t length : set.lengths) rows[0].push_back(fmt::format("@{}", length));
  for (const char* name : {"hits 95 %", "answer NLL", "KL before", "after", "perplexity", "tokens"})
    rows[0].push_back(name);
  for (const HybridOutcome& one : outcomes) {
    const RecallProbe &first = one.probes.front(), &last = one.probes.back();
    const Interval interval = last.grid.interval();
    const TrainResult& result = one.result;
    std::vector<std::string> row{
        one.plan.name, fmt::format("{}", one.plan.plan.budget()),
        first.weights == "distilled" ? "-" : number(first.grid.mean_score()),
        number(last.grid.mean_score())};
    for (const double mean : by_length(last.grid)) row.push_back(number(mean));
    row.push_back(fmt::format("{:.2f}-{:.2f}", interval.low, interval.high));
    row.push_back(number(last.grid.mean_nll_nats()));
    row.push_back(result.before ? number(result.before->kl_nats) : "-");
    row.push_back(result.after ? number(result.after->kl_nats) : "-");
    row.push_back(result.after ? number(std::exp(result.after->nll_nats), "{:.2f}") : "-");
    row.push_back(human_count(static_cast<double>(result.tokens)));
    rows.push_back(std::move(row));
    nlohmann::json json{
        {"name", one.plan.name},
        {"plan", one.plan.plan.to_string()},
        {"budget", one.plan.plan.budget()},
        {"full", one.plan.plan.full},
        {"recall_map", values_of(last.grid)},
        {"recall_before",
         first.weights == "distilled" ? nlohmann::json() : finite(first.grid.mean_score())},
        {"recall", finite(last.grid.mean_score())},
        {"recall_by_length", by_length(last.grid)},
        {"hits_low", interval.low},
        {"hits_high", interval.high},
        {"answer_nll_nats", finite(last.grid.mean_nll_nats())},
        {"before", held_out_json(result.before)},
        {"after", held_out_json(result.after)},
        {"tokens", result.tokens}};
    if (&one != &outcomes.front()) {
      const PairedStatistics paired = compare(last.grid, outcomes.front().probes.back().grid);
      json["against_first"] = {{"mean_difference", paired.mean_difference},
                               {"low", paired.interval.low},
                               {"high", paired.interval.high},
                               {"better", paired.a_better},
                               {"worse", paired.b_better},
                               {"sign_test_p", paired.sign_test_p},
                               {"trials", paired.trials}};
    }
    list.push_back(std::move(json));
  }
  std::vector<std::string> row{"teacher", fmt::format("{}", outcomes.front().plan.plan.layers), "-",
                               number(teacher.mean_score())};
  for (const double mean : by_length(teacher)) row.push_back(number(mean));
  const Interval interval = teacher.interval();
  row.push_back(fmt::format("{:.2f}-{:.2f}", interval.low, interval.high));
  row.push_back(number(teacher.mean_nll_nats()));
  row.insert(row.end(), {"-", "-", "-", "-"});
  rows.push_back(std::move(row));
  console.line("trained with equal tokens, recall on the same prompts");
  console.line(text_table(rows));
  for (const nlohmann::json& one : list)
    if (one.contains("against_first")) {
      const nlohmann::json& paired = one["against_first"];
      console.line(fmt::format(
          "{} - {}: {:+.3f} ({:+.3f} to {:+.3f}), better on {}, worse on {} of {} prompts",
          one["name"].get<std::string>(), list[0]["name"].get<std::string>(),
          paired["mean_difference"].get<double>(), paired["low"].get<double>(),
          paired["high"].get<double>(), paired["better"].get<int64_t>(),
          paired["worse"].get<int64_t>(), paired["trials"].get<int64_t>()));
    }
  return {{"set", set.to_json()},
          {"plans", list},
          {"teacher",
           {{"recall", finite(teacher.mean_score())},
            {"recall_map", values_of(teacher)},
            {"recall_by_length", by_length(teacher)},
            {"answer_nll_nats", finite(teacher.mean_nll_nats())}}}};
}

std::string comparison_csv(const nlohmann::json& comparison) {
  std::string text =
      "name,plan,budget_layers,tokens,recall_before,recall,answer_nll_nats,kl_before_nats,kl_nats,"
      "perplexity";
  for (const nlohmann::json& length : comparison["set"]["lengths"])
    text += fmt::format(",recall_{}_tokens", length.get<int64_t>());
  text += "\n";
  const auto cell = [](const nlohmann::json& value) {
    return value.is_number() ? value.dump() : std::string();
  };
  const auto part = [&](const nlohmann::json& of, const char* key) {
    return of.is_object() && of.contains(key) ? cell(of[key]) : std::string();
  };
  const auto quoted = [](const std::string& word) {
    std::string out = "\"";
    for (const char c : word) out += c == '"' ? std::string("\"\"") : std::string(1, c);
    return out + "\"";
  };
  for (const nlohmann::json& one : comparison["plans"]) {
    text += fmt::format("{},{},{},{},{},{},{},{},{},{}", quoted(one["name"].get<std::string>()),
                        quoted(one["plan"].get<std::string>()), cell(one["budget"]),
                        cell(one["tokens"]), cell(one["recall_before"]), cell(one["recall"]),
                        cell(one["answer_nll_nats"]), part(one["before"], "kl_nats"),
                        part(one["after"], "kl_nats"), part(one["after"], "perplexity"));
    for (const nlohmann::json& mean : one["recall_by_length"]) text += "," + cell(mean);
    text += "\n";
  }
  const nlohmann::json& teacher = comparison["teacher"];
  text += fmt::format("teacher,,,,,{},{},0,0,", cell(teacher["recall"]),
                      cell(teacher["answer_nll_nats"]));
  for (const nlohmann::json& mean : teacher["recall_by_length"]) text += "," + cell(mean);
  return text + "\n";
}

}  // namespace flashmorph
