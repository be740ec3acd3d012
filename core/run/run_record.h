// SPDX-License-Identifier: Apache-2.0
// A run in memory: everything the run file holds (workbench 6), as plain values.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/run/budget_solver.h"
#include "core/run/eval_set.h"
#include "core/run/gate_rank.h"
#include "core/run/layer_plan.h"
#include "core/run/recall_grid.h"

namespace flashmorph {

/// One row per recorded step, S rows. Columns other than step may be shorter while nothing was said
/// about them; the run file fills up with NaN (0 for tokens).
struct StepColumns {
  std::vector<uint32_t> step;    ///< rising
  std::vector<uint64_t> tokens;  ///< so far
  std::vector<double> time_s;    ///< since the start of the run
  std::vector<float> lr;
  std::map<std::string, std::vector<float>>
      loss;  ///< align, relative, penalty, kl, ce, ...; 1 or nat
};

struct GateColumns {
  std::vector<float> alpha, raw;              ///< [S, L] after and before clamping
  std::vector<float> penalty;                 ///< [S] lambda
  std::vector<float> score;                   ///< [L]; empty: none yet
  std::string score_method = "time_average";  ///< time_average | path | an id of method 5.1
  double score_window = kScoreWindow;
};

struct LayerColumns {
  std::vector<float> loss;   ///< [S, L] alignment loss per layer
  std::vector<float> error;  ///< [L] held-out relative error; empty: none yet
};

/// A plan with a name and an origin: a configuration.
struct SavedPlan {
  std::string id;      ///< at most 16 bytes, unique in the run, as "p3"
  std::string name;    ///< at most 64 bytes
  std::string origin;  ///< budget, hand, or the id of a method; at most 32 bytes
  LayerPlan plan;
  std::vector<Lock> locks;  ///< [L] or empty: all free
};

/// One plan with one kind of weights on one eval set.
struct Evaluation {
  std::string plan_id;              ///< of a SavedPlan
  std::string weights = "aligned";  ///< aligned or the name of a checkpoint; at most 32 bytes
  RecallGrid grid;                  ///< axes of the set
};

struct SetEvaluations {
  EvalSet set;
  std::vector<Evaluation> evaluations;
};

struct RunRecord {
  std::string uuid, parent_uuid;  ///< 36 characters; parent empty for a root
  std::string kind;               ///< align, gates, select, distill, ...
  std::string state =
      "queued";  ///< job state: queued, running, paused, finished, failed, cancelled, ...
  std::string created_utc;                           ///< 2026-11-25T03:53:36Z
  std::string generator;                             ///< "flashmorph 0.1.0"
  uint64_t revision = 0;                             ///< number of commits so far
  nlohmann::json config = nlohmann::json::object();  ///< choices
  nlohmann::json provenance =
      nlohmann::json::object();  ///< hashes, seeds, versions, device, command
  nlohmann::json model = nlohmann::json::object();
  int layers = 0;  ///< L
  StepColumns steps;
  GateColumns gates;
  LayerColumns layer;
  std::vector<SavedPlan> plans;
  std::vector<SetEvaluations> evals;

  size_t rows() const { return steps.step.size(); }
  const SavedPlan* find_plan(const std::string& id) const;
  /// The saved plan equal to `plan`, if any.
  const SavedPlan* find_plan(const LayerPlan& plan) const;
  /// The id of a saved plan equal to `plan`; saves it under a new id if there is none.
  std::string keep_plan(const LayerPlan& plan, const std::string& name, const std::string& origin,
                        const std::vector<Lock>& locks = {});
  /// The evaluations of a set (by name), added if new. Throws Error(bad_request) if the name exists
  /// with other content.
  SetEvaluations& keep_set(const EvalSet& set);
  /// The grid of (plan, weights, set), empty and added if new: what the evaluator fills.
  RecallGrid& grid(const EvalSet& set, const std::string& plan_id, const std::string& weights);
  GateHistory gate_history() const;
  /// Score and tie-break of the gates so far, or the score of the method of a select run (tie-break
  /// empty).
  GateScore score() const;
};

/// A new record with uuid, time and generator filled in.
RunRecord new_run_record(const std::string& kind, int layers);
/// Random version-4 UUID in lower case.
std::string new_uuid();
/// Now as 2026-11-25T03:53:36Z.
std::string utc_now();

}  // namespace flashmorph
