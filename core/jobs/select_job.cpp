// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/select_job.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>

#include <fmt/format.h>

#include "core/jobs/plan_export.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

// One score a layer: a JSON array, or the last column of a CSV whose rows are layers in order.
std::vector<double> read_scores(const std::string& path, int layers) {
  const auto refuse = [&](const std::string& what) -> Error {
    return {"select", ErrorCode::bad_file, fmt::format("{}: {}", path, what), "give a JSON array or CSV with one number a layer"};
  };
  std::ifstream file(path);
  if (!file) throw Error("select", ErrorCode::not_found, fmt::format("score file {} cannot be read", path));
  std::string text;
  text.resize(1 << 20);
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  std::vector<double> scores;
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (json.is_array()) {
    for (const auto& one : json) {
      if (!one.is_number()) throw refuse("an element is not a number");
      scores.push_back(one.get<double>());
    }
  } else {
    size_t at = 0;
    while (at < text.size()) {
      const size_t end = std::min(text.find('\n', at), text.size());
      std::string line = text.substr(at, end - at);
      at = end + 1;
      if (const size_t comma = line.find_last_of(",;\t"); comma != std::string::npos) line = line.substr(comma + 1);
      char* rest = nullptr;
      const double value = std::strtod(line.c_str(), &rest);
      if (rest == line.c_str()) {
        if (scores.empty()) continue;  // a header line
        if (line.find_first_not_of(" \r") == std::string::npos) continue;
        throw refuse(fmt::format("row {} has no number", scores.size() + 1));
      }
      scores.push_back(value);
    }
  }
  if (scores.size() != static_cast<size_t>(layers))
    throw refuse(fmt::format("{} scores for {} layers", scores.size(), layers));
  return scores;
}

}  // namespace

SelectOutcome run_select_job(const Job& job) {
  MorphModel& model = job.session.model();
  const int L = model.layers(), budget = budget_of(job.config, L);
  const auto text = open_text(job.config.text, job.session.tokenizer());
  tell_running(job, "select");
  SelectOutcome outcome;
  const std::vector<Lock> locks = locks_of(job.config, L);
  if (job.config.method == "score_file") {
    outcome.result.method = "score_file";
    outcome.result.score = read_scores(job.config.score_file, L);
    outcome.result.plan = solve_budget(outcome.result.score, {}, budget, locks).plan;
  } else {
    const PasskeyData passkeys(job.session.tokenizer(), passkey_options_of(job.session, job.config, job.listener), *text,
                               static_cast<uint64_t>(job.config.seed));
    SelectorInput input;
    input.model = &model;
    // Far from the samples the gates train on, so that methods are compared on equal terms.
    constexpr uint64_t kCalibration = uint64_t{1} << 40;
    for (int64_t i = 0; i < job.config.samples; ++i)
      input.prompts.push_back(passkeys.sample(kCalibration + static_cast<uint64_t>(i)));
    input.text = text.get();
    input.text_tokens = std::max<int64_t>(job.config.text_tokens, job.config.text_length);
    input.text_length = job.config.text_length;
    input.budget = budget;
    input.seed = static_cast<uint64_t>(job.config.seed);
    input.offset = static_cast<int>(job.config.offset);
    input.quality_floor = job.config.quality_floor;
    input.local_tokens = job.config.local_tokens;
    outcome.result = run_selector(
        job.config.method, input,
        [&](const Progress& progress) { job.listener.progress("select " + job.config.method, progress, {}); }, job.stop);
  }
  const SelectorResult& result = outcome.result;
  const auto [low, high] = std::minmax_element(result.score.begin(), result.score.end());
  outcome.solution = solve_budget(result.score, {}, budget, locks, kCloseGap * std::max(*high - *low, 1e-12));
  const bool locked = std::any_of(locks.begin(), locks.end(), [](Lock lock) { return lock != Lock::free; });
  if (!locked && result.plan.layers == L) outcome.solution.plan = result.plan;
  if (!outcome.solution.moved.empty()) job.listener.note(outcome.solution.moved);
  job.recorder.edit([&](RunRecord& record) {
    record.gates.score.assign(result.score.begin(), result.score.end());
    record.gates.score_method = result.method;
    outcome.plan_id = record.keep_plan(outcome.solution.plan, fmt::format("{} K={}", result.method, outcome.solution.plan.budget()),
                                       result.method, locks);
    record.provenance["select"] = result.to_json();
    record.provenance["select"]["data_sha256"] = text->data_sha256();
  });
  write_plan_export(job, outcome.solution.plan, locks, result.method, result.score, {});
  return outcome;
}

}  // namespace flashmorph
