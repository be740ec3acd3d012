// SPDX-License-Identifier: Apache-2.0
// Random prompts with answers, and their scores computed the plain way: one prompt, one plan, all
// logits, no padding.
#pragma once

#include <random>
#include <vector>

#include "core/load/passkey_data.h"
#include "core/model/morph_model.h"

namespace flashmorph {

/// Random ids of the given length with `answers` runs of `run` answer tokens, one token apart, at
/// the end.
inline Sample tiny_prompt(int64_t length, int64_t run, int64_t answers, uint64_t seed,
                          int64_t vocab = 64) {
  std::mt19937_64 random(seed);
  Sample prompt;
  for (int64_t t = 0; t < length; ++t)
    prompt.ids.push_back(static_cast<int64_t>(random() % static_cast<uint64_t>(vocab)));
  for (int64_t a = answers; a > 0; --a)
    for (int64_t i = 0; i < run; ++i) prompt.answer.push_back(length - a * (run + 1) + i);
  return prompt;
}

/// n prompts around `length`.
inline std::vector<Sample> tiny_prompts(int n, int64_t length, uint64_t seed = 5,
                                        int64_t vocab = 64) {
  std::vector<Sample> prompts;
  for (int i = 0; i < n; ++i)
    prompts.push_back(
        tiny_prompt(length + (i * 7) % 5, 3, 2, seed + static_cast<uint64_t>(i), vocab));
  return prompts;
}

/// Makes the model's own greedy continuation the answer of a prompt's last run from `right` tokens
/// on, so that scores other than 0 occur: the first `right` tokens of the last answer run become
/// what M(plan) predicts.
inline void plant_answer(const MorphModel& model, const LayerPlan& plan, Sample& prompt,
                         int64_t right, int64_t run = 3) {
  const at::NoGradGuard no_grad;
  const size_t first = prompt.answer.size() - static_cast<size_t>(run);
  for (int64_t i = 0; i < right; ++i) {
    const int64_t p = prompt.answer[first + static_cast<size_t>(i)];
    const at::Tensor ids =
        at::tensor(at::ArrayRef<int64_t>(prompt.ids.data(), static_cast<size_t>(p)), at::kLong)
            .unsqueeze(0);
    prompt.ids[static_cast<size_t>(p)] =
        model.teacher().logits(model.states(ids, plan).select(1, -1)).argmax(-1).item<int64_t>();
  }
}

struct PlainScore {
  double score = 0, nll_nats = 0;
  bool hit = false;
};

/// Method 6, word by word.
inline PlainScore plain_score(const MorphModel& model, const LayerPlan& plan,
                              const Sample& prompt) {
  const at::NoGradGuard no_grad;
  const at::Tensor ids = at::tensor(at::ArrayRef<int64_t>(prompt.ids), at::kLong).unsqueeze(0);
  const at::Tensor logits = model.teacher().logits(model.states(ids, plan)).to(at::kDouble)[0];
  const at::Tensor log_p = at::log_softmax(logits, -1);
  PlainScore result;
  for (const int64_t p : prompt.answer) {
    const int64_t label = prompt.ids[static_cast<size_t>(p)];
    result.nll_nats -=
        log_p[p - 1][label].item<double>() / static_cast<double>(prompt.answer.size());
    result.score += (logits[p - 1].argmax().item<int64_t>() == label) /
                    static_cast<double>(prompt.answer.size());
  }
  result.hit = result.score > 1 - 1e-9;
  return result;
}

/// Means over prompts with equally many answer tokens.
inline PlainScore plain_mean(const MorphModel& model, const LayerPlan& plan,
                             const std::vector<Sample>& prompts) {
  PlainScore mean;
  for (const Sample& prompt : prompts) {
    const PlainScore one = plain_score(model, plan, prompt);
    mean.score += one.score / static_cast<double>(prompts.size());
    mean.nll_nats += one.nll_nats / static_cast<double>(prompts.size());
  }
  return mean;
}

}  // namespace flashmorph
