// SPDX-License-Identifier: Apache-2.0
// The truth about a small model: every plan of small budgets under the real metric, as one table in
// a JSON file, and where a plan stands in it. Regret and rank of method 6 come from here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/run/layer_plan.h"

namespace flashmorph {

/// One plan; [N] in the order of PlanTruth::lengths, over the prompts done so far.
struct PlanTruthRow {
  LayerPlan plan;
  std::vector<double> nll_nats;  ///< [N] mean over answer tokens
  std::vector<double> recall;    ///< [N] mean over prompts of the share of right answer tokens

  /// Mean over lengths, each weighing the same: what plans are ranked by, nats per answer token.
  double mean_nll_nats() const;
  double mean_recall() const;
};

struct PlanTruth {
  int layers = 0;  ///< L
  int max_budget =
      0;  ///< all plans of 1..max_budget full layers, and the brackets: all linear, all full
  std::vector<int64_t> lengths;  ///< [N] tokens, labels of the prompt sets
  std::vector<int64_t> prompts;  ///< [N] prompts measured so far
  std::vector<int64_t> answers;  ///< [N] answer tokens measured so far
  int64_t batches_done = 0, batches = 0;
  std::string prompts_sha256;                   ///< of all prompts, ids and answer positions
  std::string teacher_sha256, branches_sha256;  ///< whose truth it is; set by the caller
  nlohmann::json evaluation =
      nlohmann::json::object();  ///< how the prompts were made; set by the caller
  std::string command;           ///< that made the file; set by the caller
  std::vector<PlanTruthRow>
      rows;  ///< all linear; K = 1, 2, ... each in lexicographic order; all full

  bool complete() const { return batches > 0 && batches_done == batches; }
  const PlanTruthRow* find(const LayerPlan& plan) const;

  nlohmann::json to_json() const;
  /// Strict: a missing or ill-typed field, a wrong count of rows, a number that is not finite is
  /// refused by name.
  static PlanTruth from_json(const nlohmann::json& json, const std::string& where);
};

/// Writes the table whole or not at all. Throws Error(disk_full, bad_file).
void write_plan_truth(const std::filesystem::path& path, const PlanTruth& truth);
/// Reads what write_plan_truth wrote (at most 32 MiB). Throws Error(not_found, bad_file,
/// file_too_new).
PlanTruth read_plan_truth(const std::filesystem::path& path);

/// A plan among all plans of its budget.
struct PlanRank {
  int rank = 0;           ///< 1 = best: one more than the plans of lower mean NLL
  int plans = 0;          ///< of this budget
  double percentile = 0;  ///< 100 (plans - rank) / (plans - 1): 100 best, 0 worst
  double nll_nats = 0, recall = 0;
  double regret_nats = 0;  ///< NLL - NLL of the best plan of this budget
  LayerPlan best;
};

/// Nothing if the table is unfinished, of another number of layers, or lacks the plan's budget.
std::optional<PlanRank> rank_of(const PlanTruth& truth, const LayerPlan& plan);

}  // namespace flashmorph
