// SPDX-License-Identifier: Apache-2.0
#include "core/select/plan_truth.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <span>

#include <fmt/format.h>

#include "core/load/file_map.h"
#include "core/load/json_text.h"
#include "core/run/error.h"
#include "core/select/exact.h"

namespace flashmorph {

namespace {

constexpr const char* kFormat = "flashmorph-plan-truth";
constexpr int kVersion = 1;

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

[[noreturn]] void refuse(const std::string& where, const std::string& what) {
  throw Error("select", ErrorCode::bad_file, fmt::format("{}: {}", where, what),
              "write the table again");
}

// The field, of the type T exactly.
template <class T>
T field(const nlohmann::json& json, const char* name, const std::string& where) {
  if (!json.contains(name)) refuse(where, fmt::format("field {} is missing", name));
  try {
    return json.at(name).get<T>();
  } catch (const nlohmann::json::exception&) {
    refuse(where, fmt::format("field {} has the wrong type", name));
  }
}

std::vector<double> numbers(const nlohmann::json& json, size_t count, const std::string& where) {
  std::vector<double> values;
  if (json.is_array())
    for (const nlohmann::json& one : json)
      if (one.is_number()) values.push_back(one.get<double>());
  if (!json.is_array() || json.size() != count || values.size() != count)
    refuse(where, "a row lacks a number per length");
  for (const double value : values)
    if (!std::isfinite(value)) refuse(where, "a row holds a number that is not finite");
  return values;
}

}  // namespace

double PlanTruthRow::mean_nll_nats() const { return mean(nll_nats); }
double PlanTruthRow::mean_recall() const { return mean(recall); }

const PlanTruthRow* PlanTruth::find(const LayerPlan& plan) const {
  const auto found = std::find_if(rows.begin(), rows.end(),
                                  [&](const PlanTruthRow& row) { return row.plan == plan; });
  return found == rows.end() ? nullptr : &*found;
}

nlohmann::json PlanTruth::to_json() const {
  nlohmann::json table = nlohmann::json::array();
  for (const PlanTruthRow& row : rows)
    table.push_back({row.plan.to_string(), row.nll_nats, row.recall});
  return {{"format", kFormat},
          {"version", kVersion},
          {"layers", layers},
          {"max_budget", max_budget},
          {"lengths", lengths},
          {"prompts", prompts},
          {"answers", answers},
          {"batches_done", batches_done},
          {"batches", batches},
          {"prompts_sha256", prompts_sha256},
          {"teacher_sha256", teacher_sha256},
          {"branches_sha256", branches_sha256},
          {"evaluation", evaluation},
          {"command", command},
          {"columns",
           {"plan", "answer NLL by length, nats per token",
            "recall by length, share of answer tokens"}},
          {"rows", table}};
}

PlanTruth PlanTruth::from_json(const nlohmann::json& json, const std::string& where) {
  if (!json.is_object() || field<std::string>(json, "format", where) != kFormat)
    refuse(where, "not a table of plans");
  const int version = field<int>(json, "version", where);
  if (version > kVersion)
    throw Error(
        "select", ErrorCode::file_too_new,
        fmt::format("{} has table version {}, this program reads {}", where, version, kVersion),
        "use a newer program");
  PlanTruth truth;
  truth.layers = field<int>(json, "layers", where);
  truth.max_budget = field<int>(json, "max_budget", where);
  truth.lengths = field<std::vector<int64_t>>(json, "lengths", where);
  truth.prompts = field<std::vector<int64_t>>(json, "prompts", where);
  truth.answers = field<std::vector<int64_t>>(json, "answers", where);
  truth.batches_done = field<int64_t>(json, "batches_done", where);
  truth.batches = field<int64_t>(json, "batches", where);
  truth.prompts_sha256 = field<std::string>(json, "prompts_sha256", where);
  truth.teacher_sha256 = field<std::string>(json, "teacher_sha256", where);
  truth.branches_sha256 = field<std::string>(json, "branches_sha256", where);
  truth.evaluation = field<nlohmann::json>(json, "evaluation", where);
  truth.command = field<std::string>(json, "command", where);
  const size_t N = truth.lengths.size();
  if (truth.layers < 1 || truth.layers > 4096 || truth.max_budget < 1 ||
      truth.max_budget > truth.layers)
    refuse(where, fmt::format("{} layers with budgets up to {} are impossible", truth.layers,
                              truth.max_budget));
  if (N == 0 || truth.prompts.size() != N || truth.answers.size() != N)
    refuse(where, "lengths, prompts and answers disagree");
  const auto table = field<nlohmann::json>(json, "rows", where);
  if (!table.is_array()) refuse(where, "field rows has the wrong type");
  std::set<LayerPlan> seen;
  for (const nlohmann::json& one : table) {
    if (!one.is_array() || one.size() != 3 || !one[0].is_string())
      refuse(where, "a row is not [plan, [...], [...]]");
    PlanTruthRow row{LayerPlan::parse(one[0].get<std::string>()), numbers(one[1], N, where),
                     numbers(one[2], N, where)};
    if (row.plan.layers != truth.layers)
      refuse(where, fmt::format("plan {} has other layers", row.plan.to_string()));
    if (!seen.insert(row.plan).second)
      refuse(where, fmt::format("plan {} stands twice", row.plan.to_string()));
    truth.rows.push_back(std::move(row));
  }
  if (truth.rows.size() != truth_plans(truth.layers, truth.max_budget).size())
    refuse(where, "plans are missing");
  return truth;
}

void write_plan_truth(const std::filesystem::path& path, const PlanTruth& truth) {
  // One row a line, so that differences between two tables can be read.
  nlohmann::json head = truth.to_json();
  const nlohmann::json table = std::move(head["rows"]);
  head.erase("rows");
  std::string text = head.dump(1);
  text.erase(text.rfind('\n'));
  text += ",\n \"rows\": [";
  for (size_t i = 0; i < table.size(); ++i) text += (i == 0 ? "\n  " : ",\n  ") + table[i].dump();
  text += "\n ]\n}\n";
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(text.data(), text.size())));
  file.commit();
}

PlanTruth read_plan_truth(const std::filesystem::path& path) {
  constexpr size_t limit = size_t{32} << 20;
  const std::string where = path.filename().string();
  JsonLimits limits;
  limits.bytes = limit;
  return PlanTruth::from_json(parse_json(read_text(path, limit), where, limits), where);
}

std::optional<PlanRank> rank_of(const PlanTruth& truth, const LayerPlan& plan) {
  const PlanTruthRow* row = truth.find(plan);
  if (!truth.complete() || !row) return std::nullopt;
  PlanRank result;
  result.rank = 1;
  result.nll_nats = row->mean_nll_nats();
  result.recall = row->mean_recall();
  double best = result.nll_nats;
  result.best = plan;
  for (const PlanTruthRow& other : truth.rows) {
    if (other.plan.budget() != plan.budget()) continue;
    ++result.plans;
    const double nll = other.mean_nll_nats();
    result.rank += nll < result.nll_nats;
    if (nll < best) {
      best = nll;
      result.best = other.plan;
    }
  }
  result.percentile =
      result.plans > 1 ? 100.0 * (result.plans - result.rank) / (result.plans - 1) : 100.0;
  result.regret_nats = result.nll_nats - best;
  return result;
}

}  // namespace flashmorph
