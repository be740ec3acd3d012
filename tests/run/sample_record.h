// SPDX-License-Identifier: Apache-2.0
// A small record with something in every path of the run file, and comparison that takes NaN for
// equal.
#pragma once

#include <cmath>
#include <string>

#include "core/run/run_record.h"

namespace flashmorph {

inline RunRecord sample_record(int steps = 50, int layers = 6) {
  RunRecord record = new_run_record("gates", layers);
  record.parent_uuid = new_uuid();
  record.state = "running";
  record.revision = 3;
  record.config = {{"command", "gates"}, {"penalty", 0.1}, {"note", "Grüße, 世界"}};
  record.provenance = {{"seed", 1}, {"device", "cpu"}};
  record.model = {{"name", "tiny"}, {"layers", layers}};
  for (int s = 1; s <= steps; ++s) {
    record.steps.step.push_back(static_cast<uint32_t>(s));
    record.steps.tokens.push_back(static_cast<uint64_t>(s) * 1000);
    record.steps.time_s.push_back(0.5 * s);
    record.steps.lr.push_back(0.02F);
    record.steps.loss["align"].push_back(5.0F / static_cast<float>(s));
    record.steps.loss["penalty"].push_back(0.25F);
    record.gates.penalty.push_back(0.125F);
    for (int l = 0; l < layers; ++l) {
      record.gates.alpha.push_back(static_cast<float>((l * 7 + s) % 17) / 16.0F);
      record.gates.raw.push_back(static_cast<float>((l * 7 + s) % 17) / 16.0F + 0.25F);
      record.layer.loss.push_back(static_cast<float>(l) + 0.5F);
    }
  }
  for (int l = 0; l < layers; ++l) record.layer.error.push_back(0.125F * static_cast<float>(l));
  std::vector<Lock> locks(static_cast<size_t>(layers), Lock::free);
  locks[1] = Lock::full, locks[2] = Lock::linear;
  record.keep_plan(LayerPlan::of(layers, {1, 3}), "K 2 by gates", "budget", locks);
  record.keep_plan(LayerPlan::all_linear(layers), "all linear", "hand");
  EvalSet set;
  set.name = "passkey-1";
  set.lengths = {128, 256, 512};
  set.depths = {0.0, 1.0 / 3, 1.0};
  set.trials = 4;
  set.strings = {{"question", "What is it?"}};
  RecallGrid& grid = record.grid(set, "p1", "aligned");
  grid.at(0, 0).add(0, 1.0, 0.5);
  grid.at(0, 0).add(1, 0.25, 1.5);
  grid.at(2, 1).add(0, 0.0, 8.0);
  record.grid(set, "p2", "aligned").at(1, 1).add(0, 1.0, 0.125);
  return record;
}

/// A text that is the same for equal records, NaN included: what tests compare.
inline std::string dump_of(const RunRecord& record) {
  nlohmann::json evals = nlohmann::json::array(), plans = nlohmann::json::array();
  for (const SavedPlan& p : record.plans) {
    std::string locks;
    for (const Lock lock : p.locks) locks += std::to_string(static_cast<int>(lock));
    plans.push_back({p.id, p.name, p.origin, p.plan.to_string(), locks});
  }
  for (const SetEvaluations& kept : record.evals)
    for (const Evaluation& e : kept.evaluations)
      for (const RecallCell& c : e.grid.cells)
        evals.push_back({kept.set.to_json(), e.plan_id, e.weights, c.trials, c.hits,
                         static_cast<float>(c.score), static_cast<float>(c.nll_nats),
                         c.trial_score});
  const nlohmann::json all = {
      {"head",
       {record.uuid, record.parent_uuid, record.kind, record.state, record.created_utc,
        record.generator, record.revision}},
      {"json", {record.config, record.provenance, record.model, record.layers}},
      {"steps",
       {record.steps.step, record.steps.tokens, record.steps.time_s, record.steps.lr,
        record.steps.loss}},
      {"gates",
       {record.gates.alpha, record.gates.raw, record.gates.penalty, record.gates.score_method,
        record.gates.score_window}},
      {"layers", {record.layer.loss, record.layer.error}},
      {"plans", plans},
      {"evals", evals}};
  return all.dump(1);
}

}  // namespace flashmorph
