// SPDX-License-Identifier: Apache-2.0
#include "core/eval/answer_probe.h"

#include <cmath>

#include <fmt/format.h>

#include "core/eval/row_scores.h"
#include "core/run/error.h"

namespace flashmorph {

std::vector<TrialResult> trials_of_rows(const Teacher& teacher, const PromptBatch& batch,
                                        const at::Tensor& states, const StopFlag* stop) {
  const RowScores rows = score_rows(teacher, states, batch.labels, {}, stop);
  const double* nll = rows.nll_nats.const_data_ptr<double>();
  const bool* right = rows.right.const_data_ptr<bool>();
  std::vector<TrialResult> results(batch.prompt.size());
  for (size_t b = 0; b < results.size(); ++b) {
    const int64_t first = batch.first_row[b], last = batch.first_row[b + 1];
    int64_t hits = 0;
    double sum = 0;
    for (int64_t r = first; r < last; ++r) {
      hits += right[r];
      sum += nll[r];
    }
    const auto n = static_cast<double>(last - first);
    results[b].score = static_cast<double>(hits) / n;
    results[b].hit = hits == last - first;
    results[b].nll_nats = sum / n;
  }
  return results;
}

AnswerProbe::AnswerProbe(const MorphModel& model, const std::vector<Sample>& prompts)
    : model_(model), prompts_(prompts.size()) {
  const Teacher& teacher = model.teacher();
  for (const std::vector<size_t>& group :
       group_prompts(prompts, teacher.config(), batch_tokens(teacher)))
    batches_.push_back(make_prompt_batch(prompts, group, teacher));
  for (const Sample& prompt : prompts)
    answers_.push_back(static_cast<int64_t>(prompt.answer.size()));
}

int64_t AnswerProbe::tokens() const {
  int64_t total = 0;
  for (const PromptBatch& batch : batches_) total += batch.tokens;
  return total;
}

std::vector<std::vector<TrialResult>> AnswerProbe::trials(const std::vector<LayerPlan>& plans,
                                                          SweepCost* cost,
                                                          const SweepProgress& progress,
                                                          const StopFlag* stop) const {
  std::vector<std::vector<TrialResult>> results(plans.size(), std::vector<TrialResult>(prompts_));
  const auto total = static_cast<int64_t>(plans.size() * batches_.size());
  int64_t done = 0;
  for (const PromptBatch& batch : batches_) {
    const auto visit = [&](size_t p, const at::Tensor& states) {
      const std::vector<TrialResult> trials = trials_of_rows(model_.teacher(), batch, states, stop);
      for (size_t b = 0; b < trials.size(); ++b) {
        if (!std::isfinite(trials[b].nll_nats))
          throw Error("eval", ErrorCode::non_finite,
                      fmt::format("the answer loss of plan {} is not finite on prompt {}",
                                  plans[p].to_string(), batch.prompt[b]),
                      "check the branches of this plan (align) or use float32");
        results[p][batch.prompt[b]] = trials[b];
      }
      if (progress) progress(++done, total);
    };
    const SweepCost spent = sweep_plans(model_, batch.ids, plans, batch.rows, visit, stop);
    if (cost) *cost += spent;
  }
  return results;
}

std::vector<AnswerScore> AnswerProbe::scores(const std::vector<LayerPlan>& plans, SweepCost* cost,
                                             const SweepProgress& progress,
                                             const StopFlag* stop) const {
  std::vector<AnswerScore> means;
  for (const std::vector<TrialResult>& one : trials(plans, cost, progress, stop)) {
    AnswerScore mean;
    double answers = 0;
    for (size_t i = 0; i < one.size(); ++i) {
      mean.nll_nats += one[i].nll_nats * static_cast<double>(answers_[i]);
      mean.recall += one[i].score;
      answers += static_cast<double>(answers_[i]);
    }
    if (answers > 0) {
      mean.nll_nats /= answers;
      mean.recall /= static_cast<double>(one.size());
    }
    means.push_back(mean);
  }
  return means;
}

}  // namespace flashmorph
