// SPDX-License-Identifier: GPL-3.0-or-later
// Records made by formula for tests, benches and pictures: gates that part over the steps, evaluated
// plans whose recall falls with length.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <string>

#include "core/run/run_record.h"

namespace flashmorph::sample {

/// Where the gate of a layer ends up: distinct values in 0..1, some layers near 1.
inline double finalGate(int layer, int layers) {
  return 0.5 + 0.48 * std::sin(1.7 * layer + 0.3 * layer * layer / std::max(1, layers));
}

inline std::vector<double> gateRow(int step, int steps, int layers) {
  std::vector<double> row(static_cast<size_t>(layers));
  for (int l = 0; l < layers; ++l) {
    const double part = static_cast<double>(step) / steps, fall = 1 - std::exp(-4 * part);
    const double wobble = 0.02 * std::sin(0.11 * step + l) * (1 - part);
    row[static_cast<size_t>(l)] = std::clamp(1 + (finalGate(l, layers) - 1) * fall + wobble, 0.0, 1.0);
  }
  return row;
}

inline EvalSet set(int trials = 8) {
  EvalSet made;
  made.name = "needle-2";
  made.task = "needle";
  made.lengths = {1024, 2048, 4096, 8192, 16384, 32768};
  made.depths = {0.0, 0.25, 0.5, 0.75, 1.0};
  made.trials = trials;
  return made;
}

/// Recall of a plan: better with the layers that keep high gates, worse with length.
inline void evaluate(RunRecord& record, const LayerPlan& plan, const std::string& name, const EvalSet& on, int cells = 1 << 20) {
  double strength = 0, best = 0;
  for (int l = 0; l < record.layers; ++l) {
    const double g = finalGate(l, record.layers);
    best += g * g;
    if (plan.is_full(l)) strength += g * g;
  }
  const double share = best > 0 ? strength / best : 0;
  RecallGrid& grid = record.grid(on, record.keep_plan(plan, name, name == "gates" ? "budget" : "hand"), "aligned");
  for (size_t n = 0; n < on.lengths.size(); ++n)
    for (size_t d = 0; d < on.depths.size(); ++d) {
      if (cells-- <= 0) return;
      const double difficulty = 0.14 * static_cast<double>(n) + 0.1 * (1 - std::abs(2 * on.depths[d] - 1));
      const double chance = std::clamp(1.15 * std::pow(share, 0.25) - difficulty, 0.02, 1.0);
      for (int r = 0; r < on.trials; ++r) {
        std::mt19937 random(static_cast<unsigned>(1000 * n + 100 * d + static_cast<size_t>(r)));  // the same prompt for all plans
        const double luck = std::uniform_real_distribution<double>(0, 1)(random);
        const double score = luck < chance ? 1.0 : luck < chance + 0.15 ? 0.5 : 0.0;
        grid.at(static_cast<int>(n), static_cast<int>(d)).add(r, score, 0.2 + 4 * (1 - chance));
      }
    }
}

inline RunRecord gates(int layers = 28, int steps = 400) {
  RunRecord record = new_run_record("gates", layers);
  record.state = "finished";
  record.config = {{"model", "qwen3-1.7b"}, {"steps", steps}, {"penalty", "budget"}, {"seed", 1}};
  record.model = {{"name", "qwen3-1.7b"}, {"weights_sha256", "3a85d6537ac2"}, {"kv_heads", 8}, {"head_dim", 128}, {"file_dtype", "bfloat16"}, {"max_position", 8192}};
  for (int s = 1; s <= steps; ++s) {
    record.steps.step.push_back(static_cast<uint32_t>(s));
    record.steps.tokens.push_back(static_cast<uint64_t>(s) * 4096);
    record.steps.time_s.push_back(s * 0.1);
    record.steps.lr.push_back(0.02F);
    record.steps.loss["ce"].push_back(static_cast<float>(0.6 + 4.5 * std::exp(-s / 60.0) + 0.15 * std::sin(0.9 * s) * std::exp(-s / 200.0)));
    record.gates.penalty.push_back(static_cast<float>(0.1 + 0.2 * s / steps));
    for (const double g : gateRow(s, steps, layers)) {
      record.gates.alpha.push_back(static_cast<float>(g));
      record.gates.raw.push_back(static_cast<float>(g));
    }
  }
  for (int l = 0; l < layers; ++l) record.layer.error.push_back(static_cast<float>(0.05 + 0.3 * finalGate(l, layers)));
  const GateScore score = record.score();
  record.gates.score.assign(score.score.begin(), score.score.end());
  return record;
}

/// With the brackets, the plans of three budgets and one swapped plan evaluated.
inline RunRecord evaluated(int layers = 28) {
  RunRecord record = gates(layers);
  const GateScore score = record.score();
  const EvalSet on = set();
  evaluate(record, LayerPlan::all_full(layers), "teacher", on);
  evaluate(record, LayerPlan::all_linear(layers), "linear", on);
  for (const int K : {6, 7, 8}) evaluate(record, solve_budget(score.score, score.tie_break, K).plan, K == 7 ? "gates" : "K" + std::to_string(K), on);
  BudgetSolution seven = solve_budget(score.score, score.tie_break, 7);
  std::replace(seven.plan.full.begin(), seven.plan.full.end(), seven.last_kept, seven.first_dropped);
  evaluate(record, LayerPlan::of(layers, seven.plan.full), "swap", on);
  std::vector<int> even;
  for (int l = 0; l < layers; l += 4) even.push_back(l);
  evaluate(record, LayerPlan::of(layers, even), "uniform", on, 18);
  return record;
}

}  // namespace flashmorph::sample
