// SPDX-License-Identifier: Apache-2.0
#include "core/eval/answer_probe.h"

#include <gtest/gtest.h>

#include "core/eval/row_scores.h"
#include "core/run/error.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tiny_prompts.h"

namespace flashmorph {
namespace {

std::vector<LayerPlan> some_plans() {
  return {LayerPlan::of(4, {2}), LayerPlan::all_full(4), LayerPlan::all_linear(4),
          LayerPlan::of(4, {0, 3})};
}

// Prompts of several lengths, padded and batched, against one prompt at a time with all logits in
// float64.
TEST(AnswerProbe, EqualsOnePromptAtATime) {
  const MorphModel model = tiny_morph_model();
  std::vector<Sample> prompts = tiny_prompts(6, 40);
  prompts.push_back(tiny_prompt(120, 3, 2, 99));
  for (size_t i = 0; i < prompts.size(); ++i)
    plant_answer(model, LayerPlan::all_full(4), prompts[i], static_cast<int64_t>(i % 4));
  const AnswerProbe probe(model, prompts);
  EXPECT_GT(probe.batches().size(), 1U);
  EXPECT_LT(probe.batches().size(), prompts.size());
  const std::vector<LayerPlan> plans = some_plans();
  const auto trials = probe.trials(plans);
  const auto means = probe.scores(plans);
  bool partly = false;
  for (size_t p = 0; p < plans.size(); ++p) {
    PlainScore mean;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const PlainScore plain = plain_score(model, plans[p], prompts[i]);
      EXPECT_NEAR(trials[p][i].score, plain.score, 1e-12);
      EXPECT_EQ(trials[p][i].hit, plain.hit);
      EXPECT_NEAR(trials[p][i].nll_nats, plain.nll_nats, 1e-5) << "measured 8e-7";
      partly |= plain.score > 0 && plain.score < 1;
      mean.score += plain.score / static_cast<double>(prompts.size());
      mean.nll_nats += plain.nll_nats / static_cast<double>(prompts.size());
    }
    EXPECT_NEAR(means[p].nll_nats, mean.nll_nats, 1e-5);
    EXPECT_NEAR(means[p].recall, mean.score, 1e-12);
  }
  EXPECT_TRUE(partly) << "the case should hold scores between 0 and 1";
}

TEST(AnswerProbe, AllRightIsAHit) {
  const MorphModel model = tiny_morph_model();
  Sample prompt = tiny_prompt(30, 3, 1, 4);
  plant_answer(model, LayerPlan::all_full(4), prompt, 3);
  const TrialResult trial =
      AnswerProbe(model, {prompt}).trials({LayerPlan::all_full(4)}).front().front();
  EXPECT_EQ(trial.score, 1.0);
  EXPECT_TRUE(trial.hit);
}

// The mean NLL weighs answer tokens, recall weighs prompts.
TEST(AnswerProbe, MeansOfUnequalAnswers) {
  const MorphModel model = tiny_morph_model();
  const std::vector<Sample> prompts = {tiny_prompt(30, 1, 1, 1), tiny_prompt(30, 9, 1, 2)};
  const AnswerProbe probe(model, prompts);
  const LayerPlan plan = LayerPlan::of(4, {1});
  const std::vector<TrialResult> trials = probe.trials({plan}).front();
  const AnswerScore mean = probe.scores({plan}).front();
  EXPECT_NEAR(mean.nll_nats, (trials[0].nll_nats + 9 * trials[1].nll_nats) / 10, 1e-12);
  EXPECT_NEAR(mean.recall, (trials[0].score + trials[1].score) / 2, 1e-12);
}

TEST(AnswerProbe, AskedTogetherOrAlonePlansScoreTheSame) {
  const MorphModel model = tiny_morph_model();
  const AnswerProbe probe(model, tiny_prompts(5, 33));
  const std::vector<LayerPlan> plans = some_plans();
  const auto together = probe.scores(plans);
  for (size_t p = 0; p < plans.size(); ++p)
    EXPECT_EQ(together[p].nll_nats, probe.scores({plans[p]}).front().nll_nats);
}

TEST(AnswerProbe, NonFiniteLossNamesThePlan) {
  MorphModel model = tiny_morph_model();
  model.branch(2).load("o_proj.weight",
                       at::full_like(model.branch(2).parameter("o_proj.weight"), std::nan("")));
  const AnswerProbe probe(model, tiny_prompts(2, 20));
  EXPECT_NO_THROW(probe.scores({LayerPlan::of(4, {2})}));
  try {
    probe.scores({LayerPlan::of(4, {2}), LayerPlan::of(4, {1})});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::non_finite);
    EXPECT_NE(error.message().find("4:1"), std::string::npos) << error.message();
  }
}

TEST(PromptBatch, GroupsKeepBudgetAndLengths) {
  const ModelConfig config = tiny_checkpoint({}, 1).config;
  std::vector<Sample> prompts;
  for (const int64_t length : {10, 300, 11, 12, 13, 14, 290, 5000})
    prompts.push_back(tiny_prompt(length, 1, 1, 1));
  size_t seen = 0;
  for (const auto& group : group_prompts(prompts, config, 40)) {
    size_t longest = 0, shortest = SIZE_MAX;
    for (const size_t i : group) {
      longest = std::max(longest, prompts[i].ids.size());
      shortest = std::min(shortest, prompts[i].ids.size());
    }
    EXPECT_TRUE(group.size() == 1 || longest * group.size() <= 40);
    EXPECT_LE(4 * longest, 5 * shortest);
    seen += group.size();
  }
  EXPECT_EQ(seen, prompts.size());
  ModelConfig dynamic = config;
  dynamic.rope.type = "dynamic";
  EXPECT_EQ(group_prompts(prompts, dynamic, 1000).size(), prompts.size());
}

TEST(PromptBatch, BadPromptsAreNamed) {
  const MorphModel model = tiny_morph_model();
  const auto refused = [&](const Sample& prompt, const char* word) {
    try {
      const AnswerProbe probe(model, {tiny_prompt(20, 1, 1, 1), prompt});
      ADD_FAILURE() << word;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_request);
      EXPECT_NE(error.message().find("prompt 1"), std::string::npos);
      EXPECT_NE(error.message().find(word), std::string::npos) << error.message();
    }
  };
  Sample prompt = tiny_prompt(20, 1, 1, 1);
  prompt.answer = {};
  refused(prompt, "no answer");
  prompt.answer = {0};
  refused(prompt, "position 0");
  prompt.answer = {20};
  refused(prompt, "position 20");
  prompt = tiny_prompt(20, 1, 1, 1);
  prompt.ids[3] = 64;
  refused(prompt, "token 64");
  refused(Sample{}, "empty");
}

TEST(RowScores, SlicesJoin) {
  const at::NoGradGuard no_grad;
  const MorphModel model = tiny_morph_model();
  const at::Tensor states = at::randn({700, 32}), labels = tiny_ids(1, 700)[0],
                   reference = at::randn({700, 32});
  const RowScores rows = score_rows(model.teacher(), states, labels, reference);
  const at::Tensor q = at::log_softmax(model.teacher().logits(states).to(at::kDouble), -1);
  const at::Tensor p = at::log_softmax(model.teacher().logits(reference).to(at::kDouble), -1);
  EXPECT_TRUE(
      at::allclose(rows.nll_nats, -q.gather(1, labels.unsqueeze(1)).squeeze(1), 1e-5, 1e-5));
  EXPECT_TRUE(
      at::allclose(rows.kl_nats, at::kl_div(q, p, at::Reduction::None, true).sum(-1), 1e-4, 1e-4));
  EXPECT_TRUE(at::equal(rows.right, q.argmax(-1) == labels));
  EXPECT_EQ(
      score_rows(model.teacher(), reference, labels, reference).kl_nats.abs().max().item<double>(),
      0.0);
}

}  // namespace
}  // namespace flashmorph
