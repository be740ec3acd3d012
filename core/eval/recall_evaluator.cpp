// SPDX-License-Identifier: Apache-2.0
#include "core/eval/recall_evaluator.h"

#include <algorithm>
#include <set>

#include "core/eval/generated_answers.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr int kFirst_trials = 4;
constexpr size_t kKept_tokens = size_t{8} << 20;

}  // namespace

std::vector<TrialResult> score_prompts(const MorphModel& model, const LayerPlan& plan,
                                       const std::vector<Sample>& prompts, bool generate,
                                       const StopFlag* stop) {
  std::vector<TrialResult> results =
      AnswerProbe(model, prompts).trials({plan}, nullptr, {}, stop).front();
  if (generate) {
    const std::vector<GeneratedAnswer> generated = generate_answers(model, plan, prompts, stop);
    for (size_t i = 0; i < results.size(); ++i) {
      results[i].generated_score = generated[i].score;
      results[i].generated_hit = generated[i].hit;
    }
  }
  return results;
}

AnswerScore answer_score(const MorphModel& model, const LayerPlan& plan,
                         const std::vector<Sample>& prompts, const StopFlag* stop) {
  return AnswerProbe(model, prompts).scores({plan}, nullptr, {}, stop).front();
}

RecallEvaluator::RecallEvaluator(const MorphModel& model, const Tokenizer& tokenizer,
                                 const TextSource& background, EvalSet set)
    : model_(model), prompts_(tokenizer, background, set) {}

const Sample& RecallEvaluator::prompt(int length_index, int depth_index, int trial) const {
  const std::tuple<int, int, int> key(length_index, depth_index, trial);
  if (const auto found = kept_.find(key); found != kept_.end()) return found->second;
  last_ = prompts_.prompt(length_index, depth_index, trial);
  if (kept_tokens_ + last_.ids.size() > kKept_tokens) return last_;
  kept_tokens_ += last_.ids.size();
  return kept_.emplace(key, std::move(last_)).first->second;
}

void RecallEvaluator::run(const LayerPlan& plan, RecallGrid& grid,
                          const std::function<void(int, int)>& on_cell, const StopFlag& stop,
                          Scoring scoring) const {
  const EvalSet& set = prompts_.set();
  if (grid.lengths != set.lengths || grid.depths != set.depths || grid.trials != set.trials)
    throw Error("eval", ErrorCode::bad_request, "the grid is not one of this eval set",
                "start with the set's empty grid");
  const int N = static_cast<int>(set.lengths.size()), D = static_cast<int>(set.depths.size());
  struct Job {
    int depth, trial;
  };
  for (const int wanted : {std::min(kFirst_trials, set.trials), set.trials})
    for (int n = 0; n < N; ++n) {
      std::vector<Job> jobs;
      for (int d = 0; d < D; ++d)
        for (int r = 0; r < wanted; ++r)
          if (!grid.at(n, d).has(r)) jobs.push_back({d, r});
      const int64_t batch = std::max<int64_t>(
          1, batch_tokens(model_.teacher()) / set.lengths[static_cast<size_t>(n)]);
      for (size_t first = 0; first < jobs.size(); first += static_cast<size_t>(batch)) {
        const size_t last = std::min(jobs.size(), first + static_cast<size_t>(batch));
        std::vector<Sample> prompts;
        std::vector<TrialResult> results;
        for (size_t i = first; i < last && !stop.is_set(); ++i)
          prompts.push_back(prompt(n, jobs[i].depth, jobs[i].trial));
        if (stop.is_set()) return;
        try {
          results = score_prompts(model_, plan, prompts, scoring == Scoring::generated, &stop);
        } catch (const Error& error) {
          if (error.code() == ErrorCode::stopped) return;
          throw;
        }
        std::set<int> changed;
        for (size_t i = first; i < last; ++i) {
          const TrialResult& one = results[i - first];
          grid.at(n, jobs[i].depth)
              .add(jobs[i].trial, scoring == Scoring::generated ? one.generated_score : one.score,
                   one.nll_nats);
          changed.insert(jobs[i].depth);
        }
        if (on_cell)
          for (const int d : changed) on_cell(n, d);
      }
    }
}

}  // namespace flashmorph
