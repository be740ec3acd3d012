// SPDX-License-Identifier: Apache-2.0
#include "core/run/run_record.h"

#include <algorithm>
#include <chrono>
#include <ctime>
#include <random>

#include <fmt/format.h>

#include <flashmorph_version.h>

#include "core/run/error.h"

namespace flashmorph {

const SavedPlan* RunRecord::find_plan(const std::string& id) const {
  const auto it = std::find_if(plans.begin(), plans.end(),
                               [&](const SavedPlan& saved) { return saved.id == id; });
  return it == plans.end() ? nullptr : &*it;
}

const SavedPlan* RunRecord::find_plan(const LayerPlan& plan) const {
  const auto it = std::find_if(plans.begin(), plans.end(),
                               [&](const SavedPlan& saved) { return saved.plan == plan; });
  return it == plans.end() ? nullptr : &*it;
}

std::string RunRecord::keep_plan(const LayerPlan& plan, const std::string& name,
                                 const std::string& origin, const std::vector<Lock>& locks) {
  if (plan.layers != layers)
    throw Error("run", ErrorCode::bad_request,
                fmt::format("plan {} is for {} layers, this run has {}", plan.to_string(),
                            plan.layers, layers));
  if (const SavedPlan* saved = find_plan(plan)) return saved->id;
  size_t number = plans.size() + 1;
  while (find_plan(fmt::format("p{}", number)) != nullptr) ++number;
  plans.push_back({fmt::format("p{}", number), name, origin, plan, locks});
  return plans.back().id;
}

SetEvaluations& RunRecord::keep_set(const EvalSet& set) {
  const std::string id = set.id();
  for (SetEvaluations& known : evals) {
    if (known.set.id() != id) continue;
    if (known.set.hash() != set.hash())
      throw Error("eval", ErrorCode::bad_request,
                  fmt::format("eval set {} exists in this run with other content", id),
                  "give it another name");
    return known;
  }
  evals.push_back({set, {}});
  evals.back().set.name = id;
  return evals.back();
}

RecallGrid& RunRecord::grid(const EvalSet& set, const std::string& plan_id,
                            const std::string& weights) {
  if (find_plan(plan_id) == nullptr)
    throw Error("eval", ErrorCode::bad_request,
                fmt::format("plan {} is not saved in this run", plan_id));
  SetEvaluations& kept = keep_set(set);
  for (Evaluation& evaluation : kept.evaluations)
    if (evaluation.plan_id == plan_id && evaluation.weights == weights) return evaluation.grid;
  kept.evaluations.push_back({plan_id, weights, set.empty_grid()});
  return kept.evaluations.back().grid;
}

GateHistory RunRecord::gate_history() const {
  GateHistory history;
  history.layers = layers;
  if (gates.alpha.empty()) return history;
  history.step.assign(steps.step.begin(), steps.step.end());
  history.alpha = gates.alpha;
  history.raw = gates.raw;
  return history;
}

GateScore RunRecord::score() const {
  const bool own =
      !gates.score.empty() && (gates.score_method != "time_average" || gates.alpha.empty());
  if (own) return {{gates.score.begin(), gates.score.end()}, {}, 0, 0};
  if (layers < 1) throw Error("run", ErrorCode::bad_request, "this run has no layers to rank");
  return rank_gates(gate_history(), gates.score_window);
}

std::string new_uuid() {
  std::random_device random;
  std::string hex;
  for (int i = 0; i < 4; ++i) hex += fmt::format("{:08x}", random());
  hex[12] = '4';
  hex[16] = "89ab"[random() % 4];
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                     hex.substr(16, 4), hex.substr(20));
}

std::string utc_now() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm parts{};
  gmtime_r(&now, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

RunRecord new_run_record(const std::string& kind, int layers) {
  RunRecord record;
  record.uuid = new_uuid();
  record.kind = kind;
  record.created_utc = utc_now();
  record.generator = "flashmorph " FLASHMORPH_VERSION;
  record.layers = layers;
  return record;
}

}  // namespace flashmorph
