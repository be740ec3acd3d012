// SPDX-License-Identifier: Apache-2.0
#include "core/eval/generated_answers.h"

#include <gtest/gtest.h>

#include "core/eval/answer_probe.h"
#include "core/run/error.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tiny_prompts.h"

namespace flashmorph {
namespace {

// One answer run after the true text before it: argmax of a whole forward pass per token, no cache.
std::vector<int64_t> plain_chain(const MorphModel& model, const LayerPlan& plan,
                                 const Sample& prompt) {
  const at::NoGradGuard no_grad;
  std::vector<int64_t> all;
  std::vector<int64_t> context;
  for (size_t a = 0; a < prompt.answer.size(); ++a) {
    const int64_t p = prompt.answer[a];
    if (a == 0 || prompt.answer[a - 1] + 1 != p)
      context.assign(prompt.ids.begin(), prompt.ids.begin() + p);
    const at::Tensor ids = at::tensor(at::ArrayRef<int64_t>(context), at::kLong).unsqueeze(0);
    all.push_back(
        model.teacher().logits(model.states(ids, plan).select(1, -1)).argmax(-1).item<int64_t>());
    context.push_back(all.back());
  }
  return all;
}

TEST(GeneratedAnswers, EqualsTheChainWithoutCache) {
  for (const BranchKind kind : {BranchKind::lightning, BranchKind::gdn, BranchKind::window}) {
    const MorphModel model = tiny_morph_model({}, 1, kind);
    std::vector<Sample> prompts = tiny_prompts(6, 40);
    prompts.push_back(tiny_prompt(90, 4, 3, 77));
    for (size_t i = 0; i < prompts.size(); ++i)
      plant_answer(model, LayerPlan::of(4, {1, 2}), prompts[i], i % 4);
    for (const LayerPlan& plan :
         {LayerPlan::all_full(4), LayerPlan::of(4, {1, 2}), LayerPlan::all_linear(4)}) {
      const auto generated = generate_answers(model, plan, prompts);
      for (size_t i = 0; i < prompts.size(); ++i)
        EXPECT_EQ(generated[i].ids, plain_chain(model, plan, prompts[i]))
            << to_string(kind) << " " << plan.to_string() << " " << i;
    }
  }
}

// Greedy generation reproduces an answer exactly when every token is right teacher forced.
TEST(GeneratedAnswers, HitsAgreeWithTeacherForcing) {
  const MorphModel model = tiny_morph_model();
  const LayerPlan plan = LayerPlan::of(4, {0, 3});
  std::vector<Sample> prompts;
  for (int64_t i = 0; i < 8; ++i) {
    prompts.push_back(tiny_prompt(30, 3, 1, 10 + static_cast<uint64_t>(i)));
    plant_answer(model, plan, prompts.back(), i % 4);
  }
  const auto generated = generate_answers(model, plan, prompts);
  const auto forced = AnswerProbe(model, prompts).trials({plan}).front();
  int hits = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    EXPECT_EQ(generated[i].hit, forced[i].hit) << i;
    EXPECT_GE(generated[i].score, static_cast<double>(i % 4) / 3 - 1e-12);
    hits += forced[i].hit;
  }
  EXPECT_GE(hits, 2);
  EXPECT_LT(hits, 8);
}

TEST(GeneratedAnswers, Stops) {
  const MorphModel model = tiny_morph_model();
  const StopFlag stop;
  stop.set();
  EXPECT_THROW(generate_answers(model, LayerPlan::all_full(4), tiny_prompts(2, 30), &stop), Error);
}

}  // namespace
}  // namespace flashmorph
