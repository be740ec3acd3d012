// SPDX-License-Identifier: Apache-2.0
#include "core/select/calibration.h"

#include <algorithm>

#include "core/run/error.h"

namespace flashmorph {

Calibration::Calibration(const SelectorInput& input, const ProgressCallback& progress,
                         const StopFlag& stop)
    : input_(input), progress_(progress), stop_(stop) {}

const AnswerProbe& Calibration::answers() {
  if (input_.prompts.empty())
    throw Error("select", ErrorCode::bad_request,
                "this method measures on prompts with answers, and none were given",
                "give at least one calibration prompt");
  if (!answers_) answers_ = std::make_unique<AnswerProbe>(model(), input_.prompts);
  return *answers_;
}

void Calibration::report(const std::string& what, int64_t done, int64_t total) const {
  if (progress_) progress_({what, done, total, cost_.tokens});
}

std::vector<AnswerScore> Calibration::answer_scores(const std::vector<LayerPlan>& plans) {
  const AnswerProbe& probe = answers();
  const auto batches = static_cast<int64_t>(probe.batches().size());
  const int64_t planned =
      std::max<int64_t>(expected_plans_, plans_done_ + static_cast<int64_t>(plans.size()));
  SweepCost spent;
  std::vector<AnswerScore> scores = probe.scores(
      plans, &spent,
      [&](int64_t done, int64_t) {
        report("plan evaluations", plans_done_ + done / batches, planned);
      },
      &stop_);
  plans_done_ += static_cast<int64_t>(plans.size());
  count(static_cast<int64_t>(plans.size()), spent);
  return scores;
}

std::vector<TextMetrics> Calibration::text_metrics(const std::vector<LayerPlan>& plans) {
  if (!input_.text)
    throw Error("select", ErrorCode::bad_request,
                "this method measures on ordinary text, and none was given",
                "name a corpus for the calibration text");
  if (!text_)
    text_ = std::make_unique<TextProbe>(model(), *input_.text, input_.text_tokens,
                                        input_.text_length, input_.seed);
  SweepCost spent;
  std::vector<TextMetrics> metrics = text_->metrics(
      plans, &spent,
      [&](int64_t done, int64_t total) { report("plan batches of text", done, total); }, &stop_);
  count(static_cast<int64_t>(plans.size()), spent);
  return metrics;
}

void Calibration::count(int64_t evaluations, const SweepCost& cost) {
  evaluations_ += evaluations;
  cost_ += cost;
}

void Calibration::account(SelectorResult& result) const {
  const int64_t L = model().layers();
  result.evaluations = evaluations_;
  result.tokens = cost_.tokens;
  result.forwards = (cost_.layer_passes + L - 1) / L;
  result.flops = cost_.flops;
}

}  // namespace flashmorph
