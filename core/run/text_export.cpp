// SPDX-License-Identifier: Apache-2.0
#include "core/run/text_export.h"

#include <cmath>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

using Row = std::vector<TableValue>;

TableValue integer(int64_t value) { return value; }

std::string csv_text(const std::string& text) {
  std::string safe = text;
  if (!safe.empty() && std::string("=+-@\t\r").find(safe.front()) != std::string::npos)
    safe.insert(safe.begin(), '\'');
  if (safe.find_first_of(",\"\n\r") == std::string::npos) return safe;
  std::string quoted = "\"";
  for (const char c : safe) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

std::string csv_value(const TableValue& value) {
  if (const auto* whole = std::get_if<int64_t>(&value)) return fmt::format("{}", *whole);
  if (const auto* real = std::get_if<double>(&value))
    return std::isfinite(*real) ? fmt::format("{:.9g}", *real) : "";
  if (const auto* text = std::get_if<std::string>(&value)) return csv_text(*text);
  return "";
}

template <typename T>
TableValue at(const std::vector<T>& column, size_t row) {
  if (row >= column.size()) return std::monostate{};
  if constexpr (std::is_integral_v<T>)
    return static_cast<int64_t>(column[row]);
  else
    return static_cast<double>(column[row]);
}

}  // namespace

std::string Table::to_csv() const {
  std::string text;
  for (size_t c = 0; c < columns.size(); ++c) text += (c > 0 ? "," : "") + csv_text(columns[c]);
  text += '\n';
  for (const Row& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) text += (c > 0 ? "," : "") + csv_value(row[c]);
    text += '\n';
  }
  return text;
}

nlohmann::json Table::to_json() const {
  nlohmann::json list = nlohmann::json::array();
  for (const Row& row : rows) {
    nlohmann::json one = nlohmann::json::object();
    for (size_t c = 0; c < row.size(); ++c)
      std::visit(
          [&](const auto& value) {
            using T = std::decay_t<decltype(value)>;
            if constexpr (std::is_same_v<T, std::monostate>)
              one[columns[c]] = nullptr;
            else if constexpr (std::is_same_v<T, double>)
              one[columns[c]] = std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
            else
              one[columns[c]] = value;
          },
          row[c]);
    list.push_back(std::move(one));
  }
  return list;
}

Table gates_table(const RunRecord& record) {
  Table table{{"step", "tokens", "layer", "alpha", "raw", "penalty"}, {}};
  const auto L = static_cast<size_t>(record.layers);
  if (record.gates.alpha.empty()) return table;
  for (size_t s = 0; s < record.rows(); ++s)
    for (size_t l = 0; l < L; ++l)
      table.rows.push_back({at(record.steps.step, s), at(record.steps.tokens, s),
                            integer(static_cast<int64_t>(l)), at(record.gates.alpha, s * L + l),
                            at(record.gates.raw, s * L + l), at(record.gates.penalty, s)});
  return table;
}

Table steps_table(const RunRecord& record) {
  Table table{{"step", "tokens", "time_s", "lr", "quantity", "value"}, {}};
  for (size_t s = 0; s < record.rows(); ++s)
    for (const auto& [name, column] : record.steps.loss)
      table.rows.push_back({at(record.steps.step, s), at(record.steps.tokens, s),
                            at(record.steps.time_s, s), at(record.steps.lr, s), name,
                            at(column, s)});
  return table;
}

Table layer_errors_table(const RunRecord& record) {
  Table table{{"layer", "relative_error"}, {}};
  for (size_t l = 0; l < record.layer.error.size(); ++l)
    table.rows.push_back({integer(static_cast<int64_t>(l)), at(record.layer.error, l)});
  return table;
}

Table layer_loss_table(const RunRecord& record) {
  Table table{{"step", "layer", "loss"}, {}};
  const auto L = static_cast<size_t>(record.layers);
  if (record.layer.loss.empty()) return table;
  for (size_t s = 0; s < record.rows(); ++s)
    for (size_t l = 0; l < L; ++l)
      table.rows.push_back({at(record.steps.step, s), integer(static_cast<int64_t>(l)),
                            at(record.layer.loss, s * L + l)});
  return table;
}

Table scores_table(const RunRecord& record) {
  Table table{{"layer", "score", "tie_break", "rank", "method"}, {}};
  if (record.gates.alpha.empty() && record.gates.score.empty()) return table;
  const GateScore score = record.score();
  const std::vector<int> order = rank_order(score.score, score.tie_break);
  std::vector<int64_t> rank(order.size());
  for (size_t i = 0; i < order.size(); ++i)
    rank[static_cast<size_t>(order[i])] = static_cast<int64_t>(i) + 1;
  for (size_t l = 0; l < score.score.size(); ++l)
    table.rows.push_back({integer(static_cast<int64_t>(l)), at(score.score, l),
                          at(score.tie_break, l), rank[l], record.gates.score_method});
  return table;
}

Table plans_table(const RunRecord& record) {
  static constexpr const char* kLocks[] = {"free", "full", "linear"};
  Table table{{"plan_id", "name", "origin", "plan", "budget", "layer", "full", "lock"}, {}};
  for (const SavedPlan& saved : record.plans)
    for (int l = 0; l < saved.plan.layers; ++l) {
      const Lock lock = saved.locks.empty() ? Lock::free : saved.locks[static_cast<size_t>(l)];
      table.rows.push_back({saved.id, saved.name, saved.origin, saved.plan.to_string(),
                            integer(saved.plan.budget()), integer(l),
                            integer(saved.plan.is_full(l) ? 1 : 0),
                            std::string(kLocks[static_cast<size_t>(lock)])});
    }
  return table;
}

Table recall_table(const RunRecord& record) {
  Table table{{"set", "plan_id", "plan", "weights", "length_tokens", "depth_percent", "trials",
               "hits", "score", "hit_rate_low", "hit_rate_high", "nll_nats_per_token"},
              {}};
  for (const SetEvaluations& set : record.evals)
    for (const Evaluation& one : set.evaluations) {
      const SavedPlan* plan = record.find_plan(one.plan_id);
      for (size_t n = 0; n < one.grid.lengths.size(); ++n)
        for (size_t d = 0; d < one.grid.depths.size(); ++d) {
          const RecallCell& cell = one.grid.at(static_cast<int>(n), static_cast<int>(d));
          const Interval interval = cell.interval();
          table.rows.push_back(
              {set.set.name, one.plan_id, plan ? plan->plan.to_string() : std::string(),
               one.weights, one.grid.lengths[n], one.grid.depths[d] * 100, integer(cell.trials),
               integer(cell.hits), cell.score,
               cell.trials > 0 ? TableValue(interval.low) : TableValue(),
               cell.trials > 0 ? TableValue(interval.high) : TableValue(), cell.nll_nats});
        }
    }
  return table;
}

const std::vector<std::string>& table_names() {
  static const std::vector<std::string> names{"gates",  "steps", "layer_errors", "layer_loss",
                                              "scores", "plans", "recall"};
  return names;
}

Table table_of(const RunRecord& record, const std::string& name) {
  static Table (*const kMake[])(const RunRecord&) = {
      gates_table,  steps_table, layer_errors_table, layer_loss_table,
      scores_table, plans_table, recall_table};
  for (size_t i = 0; i < table_names().size(); ++i)
    if (table_names()[i] == name) return kMake[i](record);
  throw Error("export", ErrorCode::bad_request,
              fmt::format("there is no table \"{}\"", name.substr(0, 40)),
              "choose one of gates, steps, layer_errors, layer_loss, scores, plans, recall");
}

}  // namespace flashmorph
