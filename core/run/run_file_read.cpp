// SPDX-License-Identifier: Apache-2.0
// Reading: every value is checked before it enters a record; the file may come from anywhere.
#include "core/run/run_file_read.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/run/run_file.h"
#include "core/run/strict_json.h"

namespace flashmorph {

namespace {

using hdf5::Reader;
using hdf5::Shape;

constexpr uint64_t kMostLayers = 4096;
constexpr uint64_t kMostPlans = 65536;      // and evaluations of a set
constexpr uint64_t kMostCells = 1U << 20U;  // of all evaluations of a set
constexpr StrictLimits kJson{size_t{16} << 20, 32};

nlohmann::json read_json(const Reader& in, const std::string& path) {
  if (!in.has(path)) return nlohmann::json::object();
  nlohmann::json json = read_strict_json(in.text(path), path, "run", ErrorCode::bad_file, kJson);
  if (!json.is_object()) in.refuse(path, "expected a JSON object");
  return json;
}

// Bad JSON inside the file is a bad file, whoever found it.
template <typename F>
auto as_bad_file(const Reader& in, const std::string& path, F&& read) {
  try {
    return read();
  } catch (const Error& error) {
    in.refuse(path, error.message());
  }
}

template <typename T>
std::vector<T> array_or_none(const Reader& in, const std::string& path, const Shape& shape) {
  if (!in.has(path)) return {};
  return in.array<T>(path, shape);
}

void read_head(const Reader& in, RunRecord& record) {
  const auto text = [&](const char* name) { return in.text_attribute("/", name).value_or(""); };
  if (text("format") != "flashmorph-run")
    in.refuse("/", "attribute format: this is no FlashMorph run");
  const auto major = in.integer_attribute("/", "format_major");
  const uint64_t minor = in.integer_attribute("/", "format_minor").value_or(0);
  if (!major || *major == 0) in.refuse("/", "attribute format_major: is missing");
  if (*major > uint64_t{kRunFormatMajor})
    throw Error("run", ErrorCode::file_too_new,
                fmt::format("{} has run format {}.{}, this program reads up to {}.{}", in.where(),
                            *major, minor, kRunFormatMajor, kRunFormatMinor),
                "use a newer flashmorph");
  record.uuid = text("uuid"), record.parent_uuid = text("parent_uuid"), record.kind = text("kind");
  record.created_utc = text("created_utc"), record.generator = text("generator"),
  record.state = text("state");
  record.revision = in.integer_attribute("/", "revision").value_or(0);
  record.config = as_bad_file(in, "/config/json", [&] { return read_json(in, "/config/json"); });
  record.provenance =
      as_bad_file(in, "/config/provenance", [&] { return read_json(in, "/config/provenance"); });
  record.model = as_bad_file(in, "/model/json", [&] { return read_json(in, "/model/json"); });
  const uint64_t layers = in.integer_attribute("/model/json", "layers").value_or(0);
  if (layers > kMostLayers)
    in.refuse("/model/json",
              fmt::format("attribute layers: expected at most {}, got {}", kMostLayers, layers));
  record.layers = static_cast<int>(layers);
}

void read_steps(const Reader& in, RunRecord& record) {
  if (!in.has("/steps/step")) return;
  const uint64_t rows = in.shape("/steps/step", 1)[0];
  const auto layers = static_cast<uint64_t>(record.layers);
  StepColumns& steps = record.steps;
  steps.step = in.array<uint32_t>("/steps/step", {rows});
  if (std::adjacent_find(steps.step.begin(), steps.step.end(), std::greater_equal<>()) !=
      steps.step.end())
    in.refuse("/steps/step", "expected rising steps");
  steps.tokens = array_or_none<uint64_t>(in, "/steps/tokens", {rows});
  steps.time_s = array_or_none<double>(in, "/steps/time", {rows});
  steps.lr = array_or_none<float>(in, "/steps/lr", {rows});
  for (const std::string& name : in.names("/steps/loss"))
    steps.loss[name] = in.array<float>("/steps/loss/" + name, {rows});
  record.gates.alpha = array_or_none<float>(in, "/gates/alpha", {rows, layers});
  record.gates.raw = array_or_none<float>(in, "/gates/raw", {rows, layers});
  record.gates.penalty = array_or_none<float>(in, "/gates/penalty", {rows});
  record.layer.loss = array_or_none<float>(in, "/layers/loss", {rows, layers});
}

void read_layers(const Reader& in, RunRecord& record) {
  const auto layers = static_cast<uint64_t>(record.layers);
  record.layer.error = array_or_none<float>(in, "/layers/error", {layers});
  record.gates.score = array_or_none<float>(in, "/gates/score", {layers});
  if (record.gates.score.empty()) return;
  record.gates.score_method = in.text_attribute("/gates/score", "method").value_or("time_average");
  record.gates.score_window = in.number_attribute("/gates/score", "window").value_or(kScoreWindow);
  if (!(record.gates.score_window >= 0.0 && record.gates.score_window <= 1.0))
    in.refuse("/gates/score", "attribute window: expected 0 to 1");
}

void read_plans(const Reader& in, RunRecord& record) {
  if (!in.has("/plans/id")) return;
  const uint64_t count = in.shape("/plans/id", 1)[0];
  if (count > kMostPlans)
    in.refuse("/plans/id", fmt::format("{} plans, at most {} are read", count, kMostPlans));
  const auto layers = static_cast<uint64_t>(record.layers);
  const std::vector<std::string> id = in.strings("/plans/id", count, 16),
                                 name = in.strings("/plans/name", count, 64),
                                 origin = in.strings("/plans/origin", count, 32);
  const std::vector<uint8_t> mask = in.array<uint8_t>("/plans/mask", {count, layers}),
                             lock = in.array<uint8_t>("/plans/lock", {count, layers});
  std::set<std::string> seen;
  for (uint64_t c = 0; c < count; ++c) {
    if (id[c].empty() || !seen.insert(id[c]).second)
      in.refuse("/plans/id", fmt::format("{} is empty or used twice", quote(id[c])));
    SavedPlan saved{id[c], name[c], origin[c], {record.layers, {}}, {}};
    bool locked = false;
    for (uint64_t l = 0; l < layers; ++l) {
      const uint8_t full = mask[c * layers + l], fixed = lock[c * layers + l];
      if (full > 1) in.refuse("/plans/mask", fmt::format("expected 0 or 1, got {}", full));
      if (fixed > 2) in.refuse("/plans/lock", fmt::format("expected 0, 1 or 2, got {}", fixed));
      if (full == 1) saved.plan.full.push_back(static_cast<int>(l));
      saved.locks.push_back(static_cast<Lock>(fixed));
      locked = locked || fixed != 0;
    }
    if (!locked) saved.locks.clear();
    record.plans.push_back(std::move(saved));
  }
}

void read_eval(const Reader& in, RunRecord& record, const std::string& name) {
  const std::string group = "/eval/" + name + "/";
  SetEvaluations kept;
  kept.set = as_bad_file(in, group + "json", [&] {
    return EvalSet::from_json(read_json(in, group + "json"), "eval set");
  });
  const EvalSet& set = kept.set;
  if (set.name != name) in.refuse(group + "json", fmt::format("names the set {}", quote(set.name)));
  const uint64_t lengths = set.lengths.size(), depths = set.depths.size(),
                 trials = static_cast<uint64_t>(set.trials);
  const std::vector<uint32_t> length = in.array<uint32_t>(group + "length", {lengths});
  if (!std::equal(length.begin(), length.end(), set.lengths.begin(),
                  [](uint32_t a, int64_t b) { return int64_t{a} == b; }))
    in.refuse(group + "length", "disagrees with json");
  const std::vector<float> depth = in.array<float>(group + "depth", {depths});
  if (!std::equal(depth.begin(), depth.end(), set.depths.begin(),
                  [](float a, double b) { return std::abs(static_cast<double>(a) - b) < 1e-6; }))
    in.refuse(group + "depth", "disagrees with json");

  const uint64_t count = in.shape(group + "plan", 1)[0];
  if (count > kMostPlans || count * lengths * depths > kMostCells)
    in.refuse(group + "plan",
              fmt::format("{} evaluations of {} cells are too many", count, lengths * depths));
  const std::vector<uint32_t> plan = in.array<uint32_t>(group + "plan", {count});
  const std::vector<std::string> weights = in.strings(group + "weights", count, 32);
  const Shape cells = {count, lengths, depths};
  const std::vector<uint16_t> run = in.array<uint16_t>(group + "trials", cells),
                              hits = in.array<uint16_t>(group + "hits", cells);
  const std::vector<float> score = in.array<float>(group + "score", cells),
                           nll = in.array<float>(group + "nll", cells);
  const std::vector<float> trial_score =
      in.array<float>(group + "trial_score", {count, lengths, depths, trials});
  const auto is_share = [](float v) { return std::isnan(v) || (v >= 0.0F && v <= 1.0F); };
  if (!std::all_of(score.begin(), score.end(), is_share))
    in.refuse(group + "score", "expected values from 0 to 1");
  if (!std::all_of(trial_score.begin(), trial_score.end(), is_share))
    in.refuse(group + "trial_score", "expected values from 0 to 1");
  for (uint64_t e = 0; e < count; ++e) {
    if (plan[e] >= record.plans.size())
      in.refuse(group + "plan", fmt::format("row {} of {} plans", plan[e], record.plans.size()));
    Evaluation evaluation{record.plans[plan[e]].id, weights[e], set.empty_grid()};
    for (uint64_t i = 0; i < lengths * depths; ++i) {
      const uint64_t at = e * lengths * depths + i;
      if (run[at] > trials || hits[at] > run[at])
        in.refuse(group + "hits",
                  fmt::format("{} hits in {} of {} trials", hits[at], run[at], trials));
      RecallCell& cell = evaluation.grid.cells[i];
      cell.trials = run[at], cell.hits = hits[at];
      cell.score = static_cast<double>(score[at]), cell.nll_nats = static_cast<double>(nll[at]);
      const auto begin = trial_score.begin() + static_cast<std::ptrdiff_t>(at * trials);
      cell.trial_score.assign(begin, begin + static_cast<std::ptrdiff_t>(trials));
    }
    kept.evaluations.push_back(std::move(evaluation));
  }
  record.evals.push_back(std::move(kept));
}

}  // namespace

RunRecord read_record(const Reader& in) {
  RunRecord record;
  read_head(in, record);
  read_steps(in, record);
  read_layers(in, record);
  read_plans(in, record);
  for (const std::string& name : in.names("/eval")) read_eval(in, record, name);
  return record;
}

}  // namespace flashmorph
