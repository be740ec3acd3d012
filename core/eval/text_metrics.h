// SPDX-License-Identifier: Apache-2.0
// Control metrics on ordinary text: perplexity, and KL(teacher || M(plan)), beside recall (method 6).
#pragma once

#include "core/load/corpus.h"
#include "core/model/morph_model.h"
#include "core/run/progress.h"

namespace flashmorph {

struct TextMetrics {
  double nll_nats = 0;      ///< mean next-token NLL of M(plan)
  double perplexity = 0;
  double kl_nats = 0;       ///< mean forward KL(teacher || M(plan)), temperature 1
  int64_t tokens = 0;
};

/// tokens of `text` in sequences of `length`, the same for every plan. Logits in slices: vocabulary x length never exists at once.
TextMetrics text_metrics(const MorphModel& model, const LayerPlan& plan, const TextSource& text, int64_t tokens, int64_t length,
                         uint64_t seed, const StopFlag* stop = nullptr);

}  // namespace flashmorph
