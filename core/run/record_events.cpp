// SPDX-License-Identifier: Apache-2.0
#include "core/run/record_events.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error("run", ErrorCode::bad_request, what);
}

constexpr float kNoFloat = std::numeric_limits<float>::quiet_NaN();

// Rows of the event from here on are new.
template <typename E>
size_t first_new_row(const RunRecord& record, const E& event) {
  if (record.steps.step.empty()) return 0;
  const auto last = static_cast<int64_t>(record.steps.step.back());
  return static_cast<size_t>(std::upper_bound(event.step.begin(), event.step.end(), last) -
                             event.step.begin());
}

void check_layers(const RunRecord& record, const std::vector<std::vector<double>>& matrix,
                  size_t rows, const char* what) {
  if (matrix.size() != rows)
    refuse(fmt::format("{}: expected {} rows, got {}", what, rows, matrix.size()));
  for (const auto& row : matrix)
    if (row.size() != static_cast<size_t>(record.layers))
      refuse(fmt::format("{}: expected {} layers, got {}", what, record.layers, row.size()));
}

template <typename T>
void check_rows(const std::vector<T>& column, size_t rows, const char* what) {
  if (!column.empty() && column.size() != rows)
    refuse(fmt::format("{}: expected {} rows, got {}", what, rows, column.size()));
}

// Appends rows from `first` to a column that may lack values for earlier rows.
template <typename To, typename From>
void extend(std::vector<To>& column, size_t rows_before, const std::vector<From>& values,
            size_t first, To missing) {
  if (values.empty()) return;
  column.resize(rows_before, missing);
  for (size_t i = first; i < values.size(); ++i) column.push_back(static_cast<To>(values[i]));
}

template <typename E>
void extend_steps(RunRecord& record, const E& event, size_t first) {
  StepColumns& steps = record.steps;
  const size_t before = record.rows();
  extend(steps.tokens, before, event.tokens, first, uint64_t{0});
  extend(steps.time_s, before, event.time_s, first, std::numeric_limits<double>::quiet_NaN());
  extend(steps.lr, before, event.lr, first, kNoFloat);
  for (size_t i = first; i < event.step.size(); ++i)
    steps.step.push_back(static_cast<uint32_t>(event.step[i]));
}

void extend_matrix(std::vector<float>& matrix, const RunRecord& record, size_t rows_before,
                   const std::vector<std::vector<double>>& rows, size_t first) {
  matrix.resize(rows_before * static_cast<size_t>(record.layers), kNoFloat);
  for (size_t i = first; i < rows.size(); ++i)
    for (const double value : rows[i]) matrix.push_back(static_cast<float>(value));
}

void apply(RunRecord& record, const AlignStepsEvent& event) {
  const size_t rows = event.step.size();
  check_rows(event.loss, rows, "align.steps: loss");
  check_rows(event.tokens, rows, "align.steps: tokens"),
      check_rows(event.lr, rows, "align.steps: lr");
  check_rows(event.time_s, rows, "align.steps: time_s");
  if (!event.layer_loss.empty())
    check_layers(record, event.layer_loss, rows, "align.steps: layer_loss");
  if (!event.error.empty() && event.error.size() != static_cast<size_t>(record.layers))
    refuse(fmt::format("align.steps: error: expected {} layers, got {}", record.layers,
                       event.error.size()));
  const size_t first = first_new_row(record, event), before = record.rows();
  extend(record.steps.loss["align"], before, event.loss, first, kNoFloat);
  if (!event.layer_loss.empty())
    extend_matrix(record.layer.loss, record, before, event.layer_loss, first);
  extend_steps(record, event, first);
  // An event read again from a journal must not bring back an older measurement.
  const bool newest = event.step.empty() || record.steps.step.empty() ||
                      event.step.back() >= static_cast<int64_t>(record.steps.step.back());
  if (!event.error.empty() && newest)
    record.layer.error.assign(event.error.begin(), event.error.end());
}

void apply(RunRecord& record, const GateStepsEvent& event) {
  const size_t rows = event.step.size();
  check_layers(record, event.alpha, rows, "gates.steps: alpha");
  check_layers(record, event.raw, rows, "gates.steps: raw");
  check_rows(event.loss, rows, "gates.steps: loss"),
      check_rows(event.penalty, rows, "gates.steps: penalty");
  check_rows(event.relative, rows, "gates.steps: relative"),
      check_rows(event.tokens, rows, "gates.steps: tokens");
  check_rows(event.lr, rows, "gates.steps: lr"),
      check_rows(event.time_s, rows, "gates.steps: time_s");
  const size_t first = first_new_row(record, event), before = record.rows();
  const auto supervision = record.config.find("supervision");
  const bool cross_entropy =
      supervision != record.config.end() && (*supervision == "answer" || *supervision == "ce");
  extend(record.steps.loss[cross_entropy ? "ce" : "align"], before, event.loss, first, kNoFloat);
  const bool has_relative = std::any_of(event.relative.begin(), event.relative.end(),
                                        [](double v) { return !std::isnan(v); });
  if (has_relative || record.steps.loss.count("relative") > 0)
    extend(record.steps.loss["relative"], before, event.relative, first, kNoFloat);
  // The penalty term of the loss is lambda times the sum of gates; lambda itself lies under /gates.
  std::vector<double> term;
  for (size_t i = 0; i < event.penalty.size(); ++i)
    term.push_back(event.penalty[i] *
                   std::accumulate(event.alpha[i].begin(), event.alpha[i].end(), 0.0));
  extend(record.steps.loss["penalty"], before, term, first, kNoFloat);
  extend(record.gates.penalty, before, event.penalty, first, kNoFloat);
  extend_matrix(record.gates.alpha, record, before, event.alpha, first);
  extend_matrix(record.gates.raw, record, before, event.raw, first);
  extend_steps(record, event, first);
}

void apply(RunRecord& record, const TrainStepsEvent& event) {
  const size_t rows = event.step.size();
  check_rows(event.loss, rows, "train.steps: loss"),
      check_rows(event.tokens, rows, "train.steps: tokens");
  check_rows(event.lr, rows, "train.steps: lr"),
      check_rows(event.time_s, rows, "train.steps: time_s");
  const size_t first = first_new_row(record, event), before = record.rows();
  check_rows(event.grad_norm, rows, "train.steps: grad_norm");
  check_rows(event.held_out_kl, rows, "train.steps: held_out_kl");
  check_rows(event.held_out_nll, rows, "train.steps: held_out_nll");
  extend(record.steps.loss[event.stage == "finetune" ? "ce" : "kl"], before, event.loss, first,
         kNoFloat);
  for (const auto& [name, column] : {std::pair{"grad_norm", &event.grad_norm},
                                     std::pair{"held_out_kl", &event.held_out_kl},
                                     std::pair{"held_out_nll", &event.held_out_nll}})
    if (!column->empty()) extend(record.steps.loss[name], before, *column, first, kNoFloat);
  extend_steps(record, event, first);
}

void apply(RunRecord& record, const EvalCellsEvent& event) {
  const auto known = std::find_if(record.evals.begin(), record.evals.end(),
                                  [&](const SetEvaluations& e) { return e.set.id() == event.set; });
  if (known == record.evals.end())
    refuse(fmt::format("eval.cells: this run has no eval set {}", event.set.substr(0, 64)));
  const EvalSet set = known->set;
  for (const CellUpdate& update : event.cells) {
    if (update.length_index < 0 || static_cast<size_t>(update.length_index) >= set.lengths.size() ||
        update.depth_index < 0 || static_cast<size_t>(update.depth_index) >= set.depths.size() ||
        update.trials < 0 || update.trials > set.trials || update.hits < 0 ||
        update.hits > update.trials ||
        update.new_trials.size() > static_cast<size_t>(update.trials))
      refuse(fmt::format(
          "eval.cells: cell ({}, {}) with {} trials and {} hits does not fit eval set {}",
          update.length_index, update.depth_index, update.trials, update.hits, event.set));
  }
  const LayerPlan plan = LayerPlan::parse(event.plan);
  RecallGrid& grid = record.grid(set, record.keep_plan(plan, "", "eval"), event.weights);
  for (const CellUpdate& update : event.cells) {
    RecallCell& cell = grid.at(update.length_index, update.depth_index);
    if (update.trials <= cell.trials) continue;
    cell.trials = update.trials, cell.hits = update.hits, cell.score = update.score,
    cell.nll_nats = update.nll_nats;
    // Trials are run in order of their number, so the new ones are the last.
    const size_t first = static_cast<size_t>(update.trials) - update.new_trials.size();
    for (size_t i = 0; i < update.new_trials.size(); ++i)
      cell.trial_score[first + i] = static_cast<float>(update.new_trials[i]);
  }
}

void apply(RunRecord& record, const JobStateEvent& event) {
  if (event.kind.empty() || event.kind == record.kind) record.state = event.state;
}

}  // namespace

void apply_event(RunRecord& record, const Event& event) {
  std::visit(
      [&](const auto& e) {
        if constexpr (requires { apply(record, e); }) apply(record, e);
      },
      event);
}

bool is_recorded(const Event& event) {
  return std::visit(
      [](const auto& e) {
        return requires(RunRecord & record) { apply(record, e); };
      },
      event);
}

}  // namespace flashmorph
