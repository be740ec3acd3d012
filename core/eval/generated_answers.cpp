// SPDX-License-Identifier: Apache-2.0
#include "core/eval/generated_answers.h"

#include <algorithm>
#include <map>

#include "core/eval/plan_sweep.h"
#include "core/eval/prompt_batch.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

// Runs ids [B, T] through the model after what the cache holds, in pieces; returns the last token's
// states [B, D].
at::Tensor extend(const MorphModel& model, const at::Tensor& ids, const LayerPlan& plan,
                  Cache& cache, const StopFlag* stop) {
  const int64_t B = ids.size(0), T = ids.size(1);
  // A piece goes through all layers before the flag is read again.
  const int64_t piece = std::max<int64_t>(
      64, step_tokens(model.teacher(), cache.length + T) / (B * model.layers()) / 64 * 64);
  at::Tensor last;
  for (int64_t first = 0; first < T; first += piece) {
    if (stop && stop->is_set())
      throw Error("eval", ErrorCode::stopped, "the evaluation was stopped");
    const int64_t n = std::min(piece, T - first);
    last = model.states(ids.narrow(1, first, n), plan, &cache).select(1, -1);
  }
  return last;
}

// First position and length of each run of consecutive positions.
std::vector<std::pair<int64_t, int64_t>> runs_of(const std::vector<int64_t>& positions) {
  std::vector<std::pair<int64_t, int64_t>> runs;
  for (const int64_t p : positions) {
    if (!runs.empty() && runs.back().first + runs.back().second == p)
      ++runs.back().second;
    else
      runs.emplace_back(p, 1);
  }
  return runs;
}

}  // namespace

std::vector<GeneratedAnswer> generate_answers(const MorphModel& model, const LayerPlan& plan,
                                              const std::vector<Sample>& prompts,
                                              const StopFlag* stop) {
  const at::NoGradGuard no_grad;
  const Teacher& teacher = model.teacher();
  std::vector<GeneratedAnswer> results(prompts.size());
  // Groups of one shape, within the batch budget.
  std::map<std::pair<size_t, std::vector<int64_t>>, std::vector<size_t>> shapes;
  for (const std::vector<size_t>& group :
       group_prompts(prompts, teacher.config(), batch_tokens(teacher))) {
    shapes.clear();
    for (const size_t i : group) shapes[{prompts[i].ids.size(), prompts[i].answer}].push_back(i);
    for (const auto& [shape, members] : shapes) {
      const at::Tensor ids = make_prompt_batch(prompts, members, teacher).ids;
      Cache truth(model.layers());
      for (const auto& [start, count] : runs_of(shape.second)) {
        at::Tensor state =
            extend(model, ids.narrow(1, truth.length, start - truth.length), plan, truth, stop);
        Cache cache = truth;  // tensors are never changed in place: a shallow copy branches off
        for (int64_t step = 0; step < count; ++step) {
          const at::Tensor next = teacher.logits(state).to(at::kFloat).argmax(-1);
          const at::Tensor on_host = next.to(at::kCPU);
          for (size_t b = 0; b < members.size(); ++b)
            results[members[b]].ids.push_back(on_host.const_data_ptr<int64_t>()[b]);
          if (step + 1 < count) state = extend(model, next.unsqueeze(1), plan, cache, stop);
        }
      }
    }
  }
  for (size_t i = 0; i < prompts.size(); ++i) {
    int64_t right = 0;
    for (size_t a = 0; a < prompts[i].answer.size(); ++a)
      right += results[i].ids[a] == prompts[i].ids[static_cast<size_t>(prompts[i].answer[a])];
    results[i].score = static_cast<double>(right) / static_cast<double>(prompts[i].answer.size());
    results[i].hit = right == static_cast<int64_t>(prompts[i].answer.size());
  }
  return results;
}

}  // namespace flashmorph
