// SPDX-License-Identifier: Apache-2.0
#include "core/eval/text_metrics.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/eval/row_scores.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

at::Tensor sequences(const TextSource& text, int64_t tokens, int64_t length, uint64_t seed) {
  constexpr int64_t most = int64_t{1} << 26;  // 64M tokens, half a gigabyte of ids
  if (tokens < 1 || length < 2 || tokens > most || length > most)
    throw Error(
        "eval", ErrorCode::bad_request,
        fmt::format("{} tokens of text in sequences of {} cannot be measured", tokens, length),
        fmt::format("ask for 1 to {} tokens in sequences of at least 2", most));
  const int64_t count = (tokens + length - 1) / length;
  const at::Tensor ids = at::empty({count, length}, at::kLong);
  for (int64_t i = 0; i < count; ++i) {
    const TokenIds row = text.take(seed, static_cast<uint64_t>(i), length);
    std::copy(row.begin(), row.end(), ids.data_ptr<int64_t>() + i * length);
  }
  return ids;
}

}  // namespace

TextProbe::TextProbe(const MorphModel& model, const TextSource& text, int64_t tokens,
                     int64_t length, uint64_t seed)
    : TextProbe(model, sequences(text, tokens, length, seed)) {}

TextProbe::TextProbe(const MorphModel& model, const at::Tensor& ids) : model_(model) {
  if (ids.dim() != 2 || ids.size(0) < 1 || ids.size(1) < 2)
    throw Error("eval", ErrorCode::bad_request,
                "text metrics need at least one sequence of two tokens",
                "ask for more tokens or a greater length");
  const int64_t rows = std::max<int64_t>(1, batch_tokens(model.teacher()) / ids.size(1));
  for (const at::Tensor& part : ids.split(rows))
    batches_.push_back(part.contiguous().to(model.teacher().device()));
  reference_.resize(batches_.size());
}

int64_t TextProbe::tokens() const {
  int64_t total = 0;
  for (const at::Tensor& batch : batches_) total += batch.numel();
  return total;
}

std::vector<TextMetrics> TextProbe::metrics(const std::vector<LayerPlan>& plans, SweepCost* cost,
                                            const SweepProgress& progress,
                                            const StopFlag* stop) const {
  const Teacher& teacher = model_.teacher();
  std::vector<TextMetrics> results(plans.size());
  const auto total = static_cast<int64_t>(plans.size() * batches_.size());
  int64_t done = 0;
  for (size_t i = 0; i < batches_.size(); ++i) {
    const at::Tensor& ids = batches_[i];
    const int64_t T = ids.size(1);
    const auto predicting = [&](const at::Tensor& states) {
      return states.narrow(1, 0, T - 1).reshape({-1, states.size(2)});
    };
    const at::Tensor labels = ids.narrow(1, 1, T - 1).reshape(-1);
    // The teacher sorts first, and the sweep continues from its streams.
    std::vector<LayerPlan> asked = plans;
    if (!reference_[i].defined()) asked.push_back(LayerPlan::all_full(model_.layers()));
    const auto visit = [&](size_t p, const at::Tensor& states) {
      if (!reference_[i].defined() && asked[p].budget() == asked[p].layers) reference_[i] = states;
      if (p >= plans.size()) return;
      const RowScores rows =
          score_rows(teacher, predicting(states), labels, predicting(reference_[i]), stop);
      results[p].nll_nats += rows.nll_nats.sum().item<double>();
      results[p].kl_nats += rows.kl_nats.sum().item<double>();
      results[p].tokens += labels.size(0);
      if (progress) progress(++done, total);
    };
    const SweepCost spent = sweep_plans(model_, ids, asked, std::nullopt, visit, stop);
    if (cost) *cost += spent;
  }
  for (size_t p = 0; p < plans.size(); ++p) {
    results[p].nll_nats /= static_cast<double>(results[p].tokens);
    results[p].kl_nats /= static_cast<double>(results[p].tokens);
    results[p].perplexity = std::exp(results[p].nll_nats);
    if (!std::isfinite(results[p].nll_nats) || !std::isfinite(results[p].kl_nats))
      throw Error("eval", ErrorCode::non_finite,
                  fmt::format("the text loss of plan {} is not finite", plans[p].to_string()),
                  "check the branches of this plan (align) or use float32");
  }
  return results;
}

TextMetrics text_metrics(const MorphModel& model, const LayerPlan& plan, const TextSource& text,
                         int64_t tokens, int64_t length, uint64_t seed, const StopFlag* stop) {
  return TextProbe(model, text, tokens, length, seed).metrics({plan}, nullptr, {}, stop).front();
}

}  // namespace flashmorph
