// SPDX-License-Identifier: Apache-2.0
#include "core/eval/recall_evaluator.h"

#include <gtest/gtest.h>

#include <chrono>

#include "core/eval/generated_answers.h"
#include "core/run/error.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tiny_prompts.h"

namespace flashmorph {
namespace {

Tokenizer demo_tokenizer() { return Tokenizer::load(TEST_DATA_DIR "/golden/tiny/llama_tied"); }

EvalSet small_set(const std::string& task) {
  EvalSet set;
  set.task = task;
  set.lengths = {400, 640};
  set.depths = {0.0, 0.5, 1.0};
  set.trials = 6;
  return set;
}

class Recall : public testing::TestWithParam<const char*> {
 protected:
  Recall()
      : tokenizer(demo_tokenizer()),
        background(tokenizer, 1),
        set(small_set(GetParam())),
        model(make_model()) {}
  MorphModel make_model() const { return tiny_morph_model({.vocab = tokenizer.vocab_size()}); }

  Tokenizer tokenizer;
  StoryCorpus background;
  EvalSet set;
  MorphModel model;
};

// Every cell against one prompt at a time with all logits.
TEST_P(Recall, CellsEqualTheDefinition) {
  const RecallEvaluator evaluator(model, tokenizer, background, set);
  const EvalPrompts prompts(tokenizer, background, set);
  const LayerPlan plan = LayerPlan::of(4, {1, 2});
  RecallGrid grid = set.empty_grid();
  std::vector<std::pair<int, int>> changes;
  evaluator.run(
      plan, grid, [&](int n, int d) { changes.emplace_back(n, d); }, StopFlag());
  EXPECT_TRUE(grid.complete());
  EXPECT_GE(changes.size(), 6U);
  for (int n = 0; n < 2; ++n)
    for (int d = 0; d < 3; ++d) {
      PlainScore mean;
      for (int r = 0; r < set.trials; ++r) {
        const Sample prompt = prompts.prompt(n, d, r);
        EXPECT_EQ(static_cast<int64_t>(prompt.ids.size()), set.lengths[static_cast<size_t>(n)]);
        const PlainScore one = plain_score(model, plan, prompt);
        EXPECT_NEAR(grid.at(n, d).trial_score[static_cast<size_t>(r)], one.score, 1e-6);
        mean.score += one.score / set.trials;
        mean.nll_nats += one.nll_nats / set.trials;
      }
      EXPECT_NEAR(grid.at(n, d).score, mean.score, 1e-6);
      EXPECT_NEAR(grid.at(n, d).nll_nats, mean.nll_nats, 1e-5) << "measured 2e-7";
    }
}

// Trial r is the same prompt for every plan and evaluator, so the grids of two plans are paired.
TEST_P(Recall, PromptsDependOnTheSetOnly) {
  const EvalPrompts a(tokenizer, background, set), b(tokenizer, background, set);
  EXPECT_EQ(a.prompt(1, 2, 3).ids, b.prompt(1, 2, 3).ids);
  EXPECT_NE(a.prompt(1, 2, 3).ids, a.prompt(1, 2, 4).ids);
  EvalSet other = set;
  other.seed = 2;
  EXPECT_NE(EvalPrompts(tokenizer, background, other).prompt(1, 2, 3).ids, a.prompt(1, 2, 3).ids);
  const RecallEvaluator evaluator(model, tokenizer, background, set);
  RecallGrid first = set.empty_grid(), again = set.empty_grid();
  evaluator.run(LayerPlan::of(4, {1}), first, {}, StopFlag());
  RecallGrid between = set.empty_grid();
  evaluator.run(LayerPlan::all_full(4), between, {}, StopFlag());
  evaluator.run(LayerPlan::of(4, {1}), again, {}, StopFlag());
  for (size_t i = 0; i < first.cells.size(); ++i)
    EXPECT_EQ(first.cells[i].nll_nats, again.cells[i].nll_nats);
  EXPECT_EQ(compare(first, again).trials, 6 * 6);
}

TEST_P(Recall, ShortToLongFourTrialsFirst) {
  const RecallEvaluator evaluator(model, tokenizer, background, set);
  RecallGrid grid = set.empty_grid();
  bool all_have_four = false;
  int last_length = 0;
  evaluator.run(
      LayerPlan::all_linear(4), grid,
      [&](int n, int d) {
        if (!all_have_four) {
          EXPECT_LE(grid.at(n, d).trials, 4);
          EXPECT_GE(n, last_length);
          last_length = n;
        }
        all_have_four = true;
        for (const RecallCell& cell : grid.cells) all_have_four &= cell.trials >= 4;
      },
      StopFlag());
  EXPECT_TRUE(all_have_four);
  EXPECT_TRUE(grid.complete());
}

TEST_P(Recall, StopKeepsFinishedCellsAndGoesOn) {
  set.trials = 40;
  const RecallEvaluator evaluator(model, tokenizer, background, set);
  const LayerPlan plan = LayerPlan::of(4, {0});
  RecallGrid grid = set.empty_grid();
  const StopFlag stop;
  std::chrono::steady_clock::time_point stopped;
  evaluator.run(
      plan, grid,
      [&](int, int) {
        if (!stop.is_set() && grid.trials_run() >= 30) {
          stop.set();
          stopped = std::chrono::steady_clock::now();
        }
      },
      stop);
  EXPECT_LT(std::chrono::steady_clock::now() - stopped, std::chrono::seconds(2));
  EXPECT_GE(grid.trials_run(), 30);
  EXPECT_FALSE(grid.complete());

  const RecallGrid kept = grid;
  set.trials = 40;
  evaluator.run(plan, grid, {}, StopFlag());
  RecallGrid whole = set.empty_grid();
  evaluator.run(plan, whole, {}, StopFlag());
  for (size_t i = 0; i < whole.cells.size(); ++i) {
    for (size_t r = 0; r < 40; ++r) {
      EXPECT_EQ(grid.cells[i].trial_score[r], whole.cells[i].trial_score[r]);
      if (kept.cells[i].has(static_cast<int>(r))) {
        EXPECT_EQ(kept.cells[i].trial_score[r], grid.cells[i].trial_score[r]);
      }
    }
    // Other batches, other rounding of the same sums: measured below 1e-6.
    EXPECT_NEAR(grid.cells[i].nll_nats, whole.cells[i].nll_nats, 1e-5);
  }
}

TEST_P(Recall, GeneratedScoresOnRequest) {
  set.trials = 2;
  set.lengths = {400};
  const RecallEvaluator evaluator(model, tokenizer, background, set);
  const EvalPrompts prompts(tokenizer, background, set);
  const LayerPlan plan = LayerPlan::all_full(4);
  RecallGrid forced = set.empty_grid(), generated = set.empty_grid();
  evaluator.run(plan, forced, {}, StopFlag());
  evaluator.run(plan, generated, {}, StopFlag(), Scoring::generated);
  for (int d = 0; d < 3; ++d) {
    EXPECT_EQ(forced.at(0, d).hits, generated.at(0, d).hits);
    EXPECT_EQ(forced.at(0, d).nll_nats, generated.at(0, d).nll_nats);
    for (int r = 0; r < 2; ++r)
      EXPECT_NEAR(generated.at(0, d).trial_score[static_cast<size_t>(r)],
                  generate_answers(model, plan, {prompts.prompt(0, d, r)}).front().score, 1e-6);
  }
}

TEST_P(Recall, ForeignGridIsRefused) {
  const RecallEvaluator evaluator(model, tokenizer, background, set);
  RecallGrid grid({400}, {0.0}, 6);
  EXPECT_THROW(evaluator.run(LayerPlan::all_full(4), grid, {}, StopFlag()), Error);
}

TEST_P(Recall, UnknownStringIsNamed) {
  set.strings = {{"answerr", "x"}};
  try {
    const EvalPrompts prompts(tokenizer, background, set);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("answerr"), std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, Recall, testing::Values("passkey", "needle"),
                         [](const auto& task) { return std::string(task.param); });

TEST(EvalPrompts, StringsChangeTheTask) {
  const Tokenizer tokenizer = demo_tokenizer();
  const StoryCorpus background(tokenizer, 1);
  EvalSet set = small_set("passkey");
  set.strings = {{"passkeys", "1"}, {"passkey_words", "3"}, {"words", "red green blue"}};
  const Sample prompt = EvalPrompts(tokenizer, background, set).prompt(0, 1, 0);
  std::vector<int64_t> answer;
  for (const int64_t p : prompt.answer) answer.push_back(prompt.ids[static_cast<size_t>(p)]);
  std::string text = tokenizer.decode(answer);
  for (const char* word : {"red", "green", "blue"})
    for (size_t at; (at = text.find(word)) != std::string::npos;)
      text.erase(at, std::string(word).size());
  EXPECT_EQ(text.find_first_not_of(' '), std::string::npos) << text;
  set.strings["passkeys"] = "many";
  EXPECT_THROW(EvalPrompts(tokenizer, background, set), Error);
  set = small_set("needle");
  set.task = "riddle";
  EXPECT_THROW(EvalPrompts(tokenizer, background, set), Error);
}

}  // namespace
}  // namespace flashmorph
