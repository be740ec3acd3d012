// SPDX-License-Identifier: Apache-2.0
// Greedy generation of answers, with cache: what the model says by itself, beside what it predicts
// teacher forced.
#pragma once

#include <vector>

#include "core/load/passkey_data.h"
#include "core/model/morph_model.h"
#include "core/run/progress.h"

namespace flashmorph {

struct GeneratedAnswer {
  std::vector<int64_t> ids;  ///< generated tokens, one per answer position
  double score = 0;          ///< share that equals the answer
  bool hit = false;          ///< all of it
};

/// Each run of consecutive answer positions is one answer: prefill the true text before it, then as
/// many one-token greedy steps as it is long. Of several answers in one prompt each is generated
/// after the true text, true earlier answers included, so one mistake does not spoil the next
/// answer. Prompts of one shape (length and answer positions) go together. Throws Error(stopped);
/// the flag is read per layer-sized piece of the prefill and per generated token.
std::vector<GeneratedAnswer> generate_answers(const MorphModel& model, const LayerPlan& plan,
                                              const std::vector<Sample>& prompts,
                                              const StopFlag* stop = nullptr);

}  // namespace flashmorph
