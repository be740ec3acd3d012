// SPDX-License-Identifier: Apache-2.0
// Control metrics on ordinary text: perplexity, and KL(teacher || M(plan)), beside recall (method
// 6).
#pragma once

#include <functional>
#include <vector>

#include "core/eval/answer_probe.h"
#include "core/load/corpus.h"
#include "core/model/morph_model.h"
#include "core/run/progress.h"

namespace flashmorph {

struct TextMetrics {
  double nll_nats = 0;    ///< mean next-token NLL of M(plan)
  double perplexity = 0;  ///< exp(nll_nats)
  double kl_nats =
      0;  ///< mean forward KL(teacher || M(plan)), temperature 1, over the same positions
  int64_t tokens = 0;  ///< predicted tokens: all but the first of each sequence
};

/// A fixed piece of text, asked of many layer plans. The teacher's final states are computed once
/// per sequence and reused.
class TextProbe {
 public:
  /// ceil(tokens / length) sequences of `length` tokens: sequence i is text.take(seed, i, length),
  /// the same for every plan. Throws Error(bad_request) for lengths below 2 or no tokens.
  TextProbe(const MorphModel& model, const TextSource& text, int64_t tokens, int64_t length,
            uint64_t seed);
  /// ids: [N, T] int64.
  TextProbe(const MorphModel& model, const at::Tensor& ids);

  int64_t tokens() const;  ///< N x T

  /// Metrics in the order of `plans`, which share prefixes (sweep_plans). cost is added to. Logits
  /// in slices: vocabulary x length never exists at once. Throws Error(stopped), Error(non_finite)
  /// naming the plan.
  std::vector<TextMetrics> metrics(const std::vector<LayerPlan>& plans, SweepCost* cost = nullptr,
                                   const SweepProgress& progress = {},
                                   const StopFlag* stop = nullptr) const;

 private:
  const MorphModel& model_;
  std::vector<at::Tensor> batches_;            // [B, T] int64 each
  mutable std::vector<at::Tensor> reference_;  // teacher's states [B, T, D], once known
};

/// TextProbe for one plan.
TextMetrics text_metrics(const MorphModel& model, const LayerPlan& plan, const TextSource& text,
                         int64_t tokens, int64_t length, uint64_t seed,
                         const StopFlag* stop = nullptr);

}  // namespace flashmorph
