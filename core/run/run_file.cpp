// SPDX-License-Identifier: Apache-2.0
// Writing, and the door to reading (run_file_read.cpp).
#include "core/run/run_file.h"

#include <algorithm>
#include <mutex>

#include <fmt/format.h>

#include "core/run/digest.h"
#include "core/run/error.h"
#include "core/run/file_io.h"
#include "core/run/hdf5_file.h"
#include "core/run/run_file_read.h"

namespace flashmorph {

namespace {

using hdf5::Shape;
using hdf5::Writer;

constexpr uint64_t kMostFileBytes = uint64_t{512} << 20;
constexpr float kNoFloat = std::numeric_limits<float>::quiet_NaN();

// The library is used by one thread at a time, however it was built.
std::mutex& library_mutex() {
  static std::mutex mutex;
  return mutex;
}

[[noreturn]] void contradiction(const std::string& what) {
  throw Error("run", ErrorCode::bad_request, "run record: " + what);
}

template <typename T>
std::span<const T> view(const std::vector<T>& values) {
  return {values.data(), values.size()};
}

// A column of S rows, filled up with what stands for "not said".
template <typename T>
std::vector<T> filled(std::vector<T> column, size_t size, T missing, const std::string& path) {
  if (column.size() > size)
    contradiction(fmt::format("{} has {} values for {}", path, column.size(), size));
  column.resize(size, missing);
  return column;
}

// At most `most` bytes without cutting through a UTF-8 character.
std::string cut_text(const std::string& text, size_t most) {
  if (text.size() <= most) return text;
  size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end);
}

std::string json_text(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void write_head(Writer& out, const RunRecord& record) {
  const auto put = [&](const char* name, const auto& value) { out.attribute("/", name, value); };
  put("format", std::string("flashmorph-run"));
  put("format_major", uint64_t{kRunFormatMajor});
  put("format_minor", uint64_t{kRunFormatMinor});
  put("uuid", record.uuid);
  put("parent_uuid", record.parent_uuid);
  put("kind", record.kind);
  put("created_utc", record.created_utc);
  put("generator", record.generator);
  put("revision", record.revision);
  put("state", record.state);
  out.text("/config/json", json_text(record.config), {"", ""});
  out.text("/config/provenance", json_text(record.provenance), {"", ""});
  out.text("/model/json", json_text(record.model), {"", ""});
  out.attribute("/model/json", "layers", static_cast<uint64_t>(record.layers));
}

void write_steps(Writer& out, const RunRecord& record) {
  const StepColumns& steps = record.steps;
  const size_t rows = record.rows();
  out.array("/steps/step", view(steps.step), {rows}, {"step", "step"});
  out.array("/steps/tokens", view(filled(steps.tokens, rows, uint64_t{0}, "/steps/tokens")), {rows},
            {"token", "step"});
  const double no_time = std::numeric_limits<double>::quiet_NaN();
  out.array("/steps/time", view(filled(steps.time_s, rows, no_time, "/steps/time")), {rows},
            {"s", "step"}, no_time);
  out.array("/steps/lr", view(filled(steps.lr, rows, kNoFloat, "/steps/lr")), {rows}, {"1", "step"},
            kNoFloat);
  for (const auto& [name, column] : steps.loss) {
    if (name.empty() || name.find('/') != std::string::npos || name.front() == '.' ||
        name.size() > 64)
      contradiction(fmt::format("loss \"{}\" cannot be a name", name.substr(0, 64)));
    const std::string unit = name == "kl" || name == "ce" ? "nat" : "1";
    out.array("/steps/loss/" + name, view(filled(column, rows, kNoFloat, "/steps/loss/" + name)),
              {rows}, {unit, "step"}, kNoFloat);
  }
}

void write_gates(Writer& out, const RunRecord& record) {
  const auto layers = static_cast<size_t>(record.layers);
  const size_t rows = record.rows();
  const GateColumns& gates = record.gates;
  if (!gates.alpha.empty()) {
    const size_t values = rows * layers;
    out.array("/gates/alpha", view(filled(gates.alpha, values, kNoFloat, "/gates/alpha")),
              {rows, layers}, {"1", "step,layer"}, kNoFloat);
    out.array("/gates/raw", view(filled(gates.raw, values, kNoFloat, "/gates/raw")), {rows, layers},
              {"1", "step,layer"}, kNoFloat);
    out.array("/gates/penalty", view(filled(gates.penalty, rows, kNoFloat, "/gates/penalty")),
              {rows}, {"1", "step"}, kNoFloat);
  }
  if (gates.alpha.empty() && gates.score.empty()) return;
  RunRecord whole;  // score() wants whole rows
  whole.layers = record.layers;
  whole.gates = gates;
  whole.gates.alpha = gates.alpha.empty()
                          ? gates.alpha
                          : filled(gates.alpha, rows * layers, kNoFloat, "/gates/alpha");
  whole.gates.raw.clear();
  whole.steps.step = record.steps.step;
  const std::vector<double> score = whole.score().score;
  if (score.size() != layers)
    contradiction(fmt::format("/gates/score has {} values for {} layers", score.size(), layers));
  const std::vector<float> narrow(score.begin(), score.end());
  out.array("/gates/score", view(narrow), {layers}, {"1", "layer"}, kNoFloat);
  out.attribute("/gates/score", "method", gates.score_method);
  out.attribute("/gates/score", "window", gates.score_window);
}

void write_layers(Writer& out, const RunRecord& record) {
  const auto layers = static_cast<size_t>(record.layers);
  const size_t rows = record.rows();
  if (!record.layer.loss.empty())
    out.array("/layers/loss",
              view(filled(record.layer.loss, rows * layers, kNoFloat, "/layers/loss")),
              {rows, layers}, {"1", "step,layer"}, kNoFloat);
  if (!record.layer.error.empty()) {
    if (record.layer.error.size() != layers)
      contradiction(fmt::format("/layers/error has {} values for {} layers",
                                record.layer.error.size(), layers));
    out.array("/layers/error", view(record.layer.error), {layers}, {"1", "layer"}, kNoFloat);
  }
}

void write_plans(Writer& out, const RunRecord& record) {
  const auto layers = static_cast<size_t>(record.layers);
  const size_t count = record.plans.size();
  if (count == 0) return;
  std::vector<std::string> id, name, origin;
  std::vector<uint8_t> mask(count * layers, 0), lock(count * layers, 0);
  for (size_t c = 0; c < count; ++c) {
    const SavedPlan& saved = record.plans[c];
    if (static_cast<size_t>(saved.plan.layers) != layers ||
        (!saved.locks.empty() && saved.locks.size() != layers))
      contradiction(fmt::format("plan {} is not for {} layers", saved.id, layers));
    if (saved.id.empty() || std::find(id.begin(), id.end(), saved.id) != id.end())
      contradiction(fmt::format("plan id \"{}\" is empty or used twice", saved.id));
    id.push_back(saved.id), name.push_back(cut_text(saved.name, 64)),
        origin.push_back(cut_text(saved.origin, 32));
    for (const int layer : saved.plan.full) mask[c * layers + static_cast<size_t>(layer)] = 1;
    for (size_t l = 0; l < saved.locks.size(); ++l)
      lock[c * layers + l] = static_cast<uint8_t>(saved.locks[l]);
  }
  out.strings("/plans/id", id, 16, {"", "plan"});
  out.strings("/plans/name", name, 64, {"", "plan"});
  out.strings("/plans/origin", origin, 32, {"", "plan"});
  out.array("/plans/mask", view(mask), {count, layers}, {"0 linear, 1 full", "plan,layer"});
  out.array("/plans/lock", view(lock), {count, layers}, {"0 free, 1 full, 2 linear", "plan,layer"});
}

void write_eval(Writer& out, const RunRecord& record, const SetEvaluations& kept) {
  const EvalSet& set = kept.set;
  const std::string group = "/eval/" + set.id() + "/";
  const size_t count = kept.evaluations.size(), lengths = set.lengths.size(),
               depths = set.depths.size();
  const auto trials = static_cast<size_t>(set.trials);
  EvalSet named = set;
  named.name = set.id();
  out.text(group + "json", json_text(named.to_json()), {"", ""});
  const std::vector<uint32_t> length(set.lengths.begin(), set.lengths.end());
  const std::vector<float> depth(set.depths.begin(), set.depths.end());
  out.array(group + "length", view(length), {lengths}, {"token", "length"});
  out.array(group + "depth", view(depth), {depths}, {"1", "depth"});

  std::vector<uint32_t> plan;
  std::vector<std::string> weights;
  std::vector<uint16_t> run, hits;
  std::vector<float> score, nll, trial_score;
  for (const Evaluation& evaluation : kept.evaluations) {
    const SavedPlan* saved = record.find_plan(evaluation.plan_id);
    if (saved == nullptr)
      contradiction(
          fmt::format("eval set {} has plan {}, which is not saved", set.id(), evaluation.plan_id));
    const RecallGrid& grid = evaluation.grid;
    if (grid.lengths != set.lengths || grid.depths != set.depths ||
        grid.cells.size() != lengths * depths)
      contradiction(fmt::format("an evaluation of set {} has other lengths or depths", set.id()));
    plan.push_back(static_cast<uint32_t>(saved - record.plans.data()));
    weights.push_back(evaluation.weights);
    for (const RecallCell& cell : grid.cells) {
      if (cell.trials < 0 || cell.trials > set.trials || cell.hits < 0 || cell.hits > cell.trials)
        contradiction(fmt::format("a cell of set {} has {} hits in {} of {} trials", set.id(),
                                  cell.hits, cell.trials, set.trials));
      run.push_back(static_cast<uint16_t>(cell.trials)),
          hits.push_back(static_cast<uint16_t>(cell.hits));
      score.push_back(static_cast<float>(cell.score)),
          nll.push_back(static_cast<float>(cell.nll_nats));
      const std::vector<float> one =
          filled(cell.trial_score, trials, kNoFloat, group + "trial_score");
      trial_score.insert(trial_score.end(), one.begin(), one.end());
    }
  }
  const Shape cells = {count, lengths, depths};
  const std::string dims = "evaluation,length,depth";
  out.array(group + "plan", view(plan), {count}, {"row of /plans", "evaluation"});
  out.strings(group + "weights", weights, 32, {"", "evaluation"});
  out.array(group + "trials", view(run), cells, {"1", dims});
  out.array(group + "hits", view(hits), cells, {"1", dims});
  out.array(group + "score", view(score), cells, {"1", dims}, kNoFloat);
  out.array(group + "nll", view(nll), cells, {"nat/token", dims}, kNoFloat);
  out.array(group + "trial_score", view(trial_score), {count, lengths, depths, trials},
            {"1", dims + ",trial"}, kNoFloat);
}

}  // namespace

std::string run_file_bytes(const RunRecord& record, bool compress) {
  const std::lock_guard lock(library_mutex());
  if (record.layers < 0 || record.layers > 4096)
    contradiction(fmt::format("{} layers", record.layers));
  Writer out(compress);
  write_head(out, record);
  write_steps(out, record);
  write_gates(out, record);
  write_layers(out, record);
  write_plans(out, record);
  for (const SetEvaluations& kept : record.evals) write_eval(out, record, kept);
  return out.finish();
}

RunRecord run_file_of_bytes(const std::string& bytes, const std::string& where) {
  const std::lock_guard lock(library_mutex());
  return read_record(hdf5::Reader(bytes, where));
}

RunFileInfo write_run_file(const std::filesystem::path& path, const RunRecord& record,
                           bool compress) {
  const std::string bytes = run_file_bytes(record, compress);
  write_file_atomic(path, bytes);
  return {bytes.size(), sha256_hex(bytes)};
}

RunRecord read_run_file(const std::filesystem::path& path) {
  return run_file_of_bytes(read_whole_file(path, kMostFileBytes), path.string());
}

}  // namespace flashmorph
