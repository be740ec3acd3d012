// SPDX-License-Identifier: Apache-2.0
// The calibration set at work: one place where selectors measure plans, report progress and count
// what it cost.
#pragma once

#include <memory>
#include <vector>

#include "core/select/selector.h"

namespace flashmorph {

class Calibration {
 public:
  /// Borrows its arguments. Batches are built when first asked for.
  Calibration(const SelectorInput& input, const ProgressCallback& progress, const StopFlag& stop);

  const MorphModel& model() const { return *input_.model; }
  const StopFlag& stop() const { return stop_; }
  /// Progress counts plans x batches against this; without it, against the plans of the call at
  /// hand.
  void expect(int64_t plan_evaluations) { expected_plans_ = plan_evaluations; }

  /// The calibration prompts as batches. Throws Error(bad_request) when there are none.
  const AnswerProbe& answers();
  /// Answer NLL and recall of each plan.
  std::vector<AnswerScore> answer_scores(const std::vector<LayerPlan>& plans);
  /// Text NLL and KL of each plan. Throws Error(bad_request) when there is no text.
  std::vector<TextMetrics> text_metrics(const std::vector<LayerPlan>& plans);
  /// Adds work a method did by itself: whole evaluations of the set, and what they ran.
  void count(int64_t evaluations, const SweepCost& cost);
  void report(const std::string& what, int64_t done, int64_t total) const;

  /// Writes evaluations, tokens, forwards and flops into a result.
  void account(SelectorResult& result) const;

 private:
  const SelectorInput& input_;
  const ProgressCallback& progress_;
  const StopFlag& stop_;
  std::unique_ptr<AnswerProbe> answers_;
  std::unique_ptr<TextProbe> text_;
  SweepCost cost_;
  int64_t evaluations_ = 0, expected_plans_ = 0, plans_done_ = 0;
};

}  // namespace flashmorph
