// SPDX-License-Identifier: Apache-2.0
#include "core/select/all_plans.h"

#include <cmath>

#include <fmt/format.h>

#include "core/eval/answer_probe.h"
#include "core/load/sha256.h"
#include "core/run/error.h"
#include "core/select/exact.h"

namespace flashmorph {

namespace {

std::string hash_of(const std::vector<LengthPrompts>& sets) {
  Sha256 hash;
  const auto add = [&](const std::vector<int64_t>& values) {
    const auto n = static_cast<int64_t>(values.size());
    hash.update(std::as_bytes(std::span(&n, size_t{1})));
    hash.update(std::as_bytes(std::span(values)));
  };
  for (const LengthPrompts& set : sets) {
    add({set.length, static_cast<int64_t>(set.prompts.size())});
    for (const Sample& prompt : set.prompts) {
      add(prompt.ids);
      add(prompt.answer);
    }
  }
  return hash.hex();
}

// Joins one batch's outcomes to the running means of a length that has seen `prompts` and `answers`
// before.
void join(PlanTruthRow& row, size_t n, const PromptBatch& batch,
          const std::vector<TrialResult>& trials, int64_t prompts, int64_t answers) {
  double nll = row.nll_nats[n] * static_cast<double>(answers),
         recall = row.recall[n] * static_cast<double>(prompts);
  for (size_t b = 0; b < trials.size(); ++b) {
    if (!std::isfinite(trials[b].nll_nats))
      throw Error("select", ErrorCode::non_finite,
                  fmt::format("the answer loss of plan {} is not finite", row.plan.to_string()),
                  "check the branches of this plan (align) or use float32");
    nll += trials[b].nll_nats * static_cast<double>(batch.first_row[b + 1] - batch.first_row[b]);
    recall += trials[b].score;
  }
  row.nll_nats[n] = nll / static_cast<double>(answers + batch.labels.size(0));
  row.recall[n] = recall / static_cast<double>(prompts + static_cast<int64_t>(trials.size()));
}

}  // namespace

PlanTruth evaluate_all_plans(const MorphModel& model,
                             const std::vector<LengthPrompts>& prompts_by_length, int max_budget,
                             PlanTruth start, const std::function<void(const PlanTruth&)>& on_batch,
                             const ProgressCallback& progress, const StopFlag& stop) {
  const int L = model.layers();
  const std::vector<LayerPlan> plans = truth_plans(L, max_budget);
  std::vector<AnswerProbe> probes;
  PlanTruth fresh = start;
  fresh.layers = L;
  fresh.max_budget = max_budget;
  fresh.batches = 0;
  fresh.lengths.clear();
  for (const LengthPrompts& set : prompts_by_length) {
    if (set.prompts.empty())
      throw Error("select", ErrorCode::bad_request,
                  fmt::format("there are no prompts of length {}", set.length),
                  "give at least one prompt per length");
    probes.emplace_back(model, set.prompts);
    fresh.lengths.push_back(set.length);
    fresh.batches += static_cast<int64_t>(probes.back().batches().size());
  }
  if (probes.empty())
    throw Error("select", ErrorCode::bad_request, "there are no prompts",
                "give prompts of one length");
  fresh.prompts_sha256 = hash_of(prompts_by_length);
  if (start.batches_done > 0) {
    if (start.prompts_sha256 != fresh.prompts_sha256 || start.layers != L ||
        start.max_budget != max_budget || start.batches != fresh.batches ||
        start.rows.size() != plans.size())
      throw Error("select", ErrorCode::bad_request,
                  "the unfinished table belongs to other prompts, budgets or layers",
                  "start a new one");
  } else {
    const std::vector<double> zero(fresh.lengths.size(), 0.0);
    fresh.prompts.assign(fresh.lengths.size(), 0);
    fresh.answers.assign(fresh.lengths.size(), 0);
    fresh.rows.clear();
    for (const LayerPlan& plan : plans) fresh.rows.push_back({plan, zero, zero});
  }

  PlanTruth truth = std::move(fresh);
  int64_t index = 0, tokens = 0;
  const auto per_batch = static_cast<int64_t>(plans.size());
  for (size_t n = 0; n < probes.size(); ++n)
    for (const PromptBatch& batch : probes[n].batches()) {
      if (index++ < truth.batches_done) continue;
      PlanTruth next = truth;
      int64_t done = 0;
      try {
        sweep_plans(
            model, batch.ids, plans, batch.rows,
            [&](size_t p, const at::Tensor& states) {
              // Rows stand in the order of `plans`.
              join(next.rows[p], n, batch, trials_of_rows(model.teacher(), batch, states, &stop),
                   truth.prompts[n], truth.answers[n]);
              tokens += batch.tokens;
              if (progress)
                progress({"plan batches", truth.batches_done * per_batch + ++done,
                          truth.batches * per_batch, tokens});
            },
            &stop);
      } catch (const Error& error) {
        if (error.code() == ErrorCode::stopped) return truth;
        throw;
      }
      next.prompts[n] += static_cast<int64_t>(batch.prompt.size());
      next.answers[n] += batch.labels.size(0);
      ++next.batches_done;
      truth = std::move(next);
      if (on_batch) on_batch(truth);
    }
  return truth;
}

}  // namespace flashmorph
