// SPDX-License-Identifier: Apache-2.0
#include "core/eval/prompt_batch.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

int64_t length(const Sample& prompt) { return static_cast<int64_t>(prompt.ids.size()); }

void check_prompt(const Sample& prompt, size_t index, int64_t vocab) {
  const auto refuse = [&](const std::string& what) {
    throw Error("eval", ErrorCode::bad_request, fmt::format("prompt {} {}", index, what),
                "rebuild the prompts of this set");
  };
  if (prompt.ids.empty()) refuse("is empty");
  if (prompt.answer.empty()) refuse("has no answer tokens");
  for (const int64_t position : prompt.answer)
    if (position < 1 || position >= length(prompt))
      refuse(fmt::format("has an answer at position {} of {}", position, prompt.ids.size()));
  for (const int64_t id : prompt.ids)
    if (id < 0 || id >= vocab)
      refuse(fmt::format("holds token {}, the model knows 0..{}", id, vocab - 1));
}

}  // namespace

int64_t batch_tokens(const Teacher& teacher) {
  if (!teacher.device().is_cpu()) return int64_t{1} << 16;
  const double per_token = layer_flops(teacher.config(), 1, 1, false) * teacher.layers();
  return std::clamp<int64_t>(static_cast<int64_t>(100e9 / per_token), 2048, 16384);
}

std::vector<std::vector<size_t>> group_prompts(const std::vector<Sample>& prompts,
                                               const ModelConfig& config, int64_t tokens) {
  for (size_t i = 0; i < prompts.size(); ++i) check_prompt(prompts[i], i, config.vocab);
  std::vector<size_t> order(prompts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return prompts[a].ids.size() < prompts[b].ids.size();
  });
  const bool equal_only = config.rope.type == "dynamic";
  std::vector<std::vector<size_t>> groups;
  for (const size_t i : order) {
    const int64_t n = length(prompts[i]);
    bool fits = !groups.empty();
    if (fits) {
      const int64_t shortest = length(prompts[groups.back().front()]);
      fits = (static_cast<int64_t>(groups.back().size()) + 1) * n <= tokens &&
             4 * n <= 5 * shortest && (!equal_only || n == shortest);
    }
    if (!fits) groups.emplace_back();
    groups.back().push_back(i);
  }
  return groups;
}

PromptBatch make_prompt_batch(const std::vector<Sample>& prompts, const std::vector<size_t>& chosen,
                              const Teacher& teacher) {
  PromptBatch batch;
  batch.prompt = chosen;
  int64_t longest = 0;
  for (const size_t i : chosen) longest = std::max(longest, length(prompts[i]));
  batch.ids = at::zeros({static_cast<int64_t>(chosen.size()), longest}, at::kLong);
  std::vector<int64_t> sequence, position, labels, lengths;
  for (size_t b = 0; b < chosen.size(); ++b) {
    const Sample& prompt = prompts[chosen[b]];
    std::copy(prompt.ids.begin(), prompt.ids.end(),
              batch.ids.data_ptr<int64_t>() + static_cast<int64_t>(b) * longest);
    batch.first_row.push_back(static_cast<int64_t>(labels.size()));
    for (const int64_t p : prompt.answer) {
      sequence.push_back(static_cast<int64_t>(b));
      position.push_back(p - 1);
      labels.push_back(prompt.ids[static_cast<size_t>(p)]);
    }
    lengths.push_back(length(prompt));
    batch.tokens += length(prompt);
  }
  batch.first_row.push_back(static_cast<int64_t>(labels.size()));
  const auto to_device = [&](const std::vector<int64_t>& values) {
    return at::tensor(at::ArrayRef<int64_t>(values), at::kLong).to(teacher.device());
  };
  batch.ids = batch.ids.to(teacher.device());
  batch.rows = {to_device(sequence), to_device(position)};
  batch.labels = to_device(labels);
  batch.lengths = to_device(lengths);
  return batch;
}

}  // namespace flashmorph
