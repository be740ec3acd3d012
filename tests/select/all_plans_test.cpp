// SPDX-License-Identifier: Apache-2.0
#include "core/select/all_plans.h"

#include <gtest/gtest.h>

#include "core/run/error.h"
#include "core/select/exact.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tiny_prompts.h"

namespace flashmorph {
namespace {

std::vector<LengthPrompts> two_lengths() {
  // The second length makes several batches.
  std::vector<LengthPrompts> sets = {{24, tiny_prompts(3, 24)}, {60, tiny_prompts(3, 60, 9)}};
  for (const int64_t length : {80, 110}) sets[1].prompts.push_back(tiny_prompt(length, 3, 2, 31));
  return sets;
}

TEST(AllPlans, TreeEqualsOneByOne) {
  const MorphModel model = tiny_morph_model({.layers = 5});
  std::vector<LengthPrompts> sets = two_lengths();
  plant_answer(model, LayerPlan::of(5, {1, 3}), sets[1].prompts[0], 2);
  std::vector<Progress> seen;
  const PlanTruth truth = evaluate_all_plans(
      model, sets, 3, {}, {}, [&](const Progress& p) { seen.push_back(p); }, StopFlag());
  EXPECT_TRUE(truth.complete());
  EXPECT_EQ(truth.rows.size(), 2U + 5 + 10 + 10);
  EXPECT_EQ(truth.prompts, (std::vector<int64_t>{3, 5}));
  EXPECT_EQ(truth.answers, (std::vector<int64_t>{18, 30}));
  EXPECT_EQ(truth.lengths, (std::vector<int64_t>{24, 60}));
  for (const PlanTruthRow& row : truth.rows)
    for (size_t n = 0; n < 2; ++n) {
      const PlainScore plain = plain_mean(model, row.plan, sets[n].prompts);
      EXPECT_NEAR(row.nll_nats[n], plain.nll_nats, 1e-5) << row.plan.to_string();  // measured 6e-7
      EXPECT_NEAR(row.recall[n], plain.score, 1e-12) << row.plan.to_string();
    }
  ASSERT_FALSE(seen.empty());
  EXPECT_EQ(seen.back().done, seen.back().total);
}

TEST(AllPlans, StopKeepsBatchesAndResumes) {
  const MorphModel model = tiny_morph_model({.layers = 5});
  const std::vector<LengthPrompts> sets = two_lengths();
  PlanTruth labels;
  labels.teacher_sha256 = "teacher";
  labels.command = "flashmorph truth";
  const PlanTruth whole = evaluate_all_plans(model, sets, 2, labels, {}, {}, StopFlag());
  ASSERT_GE(whole.batches, 3);

  const StopFlag stop;
  int64_t evaluations = 0;
  const auto stop_in_second_batch = [&](const Progress& p) {
    evaluations = p.done;
    if (p.done == p.total / whole.batches + 4) stop.set();
  };
  const PlanTruth part = evaluate_all_plans(model, sets, 2, labels, {}, stop_in_second_batch, stop);
  EXPECT_FALSE(part.complete());
  EXPECT_EQ(part.batches_done, 1);
  EXPECT_FALSE(rank_of(part, LayerPlan::of(5, {1})).has_value());

  // Through the file, as a later program would.
  const PlanTruth read = PlanTruth::from_json(part.to_json(), "part");
  int batches = 0;
  const PlanTruth resumed = evaluate_all_plans(
      model, sets, 2, read, [&](const PlanTruth&) { ++batches; }, {}, StopFlag());
  EXPECT_EQ(batches, whole.batches - 1);
  EXPECT_EQ(resumed.teacher_sha256, "teacher");
  EXPECT_EQ(resumed.prompts, whole.prompts);
  for (size_t i = 0; i < whole.rows.size(); ++i)
    for (size_t n = 0; n < 2; ++n) {
      EXPECT_EQ(resumed.rows[i].nll_nats[n], whole.rows[i].nll_nats[n]);
      EXPECT_EQ(resumed.rows[i].recall[n], whole.rows[i].recall[n]);
    }

  std::vector<LengthPrompts> other = sets;
  other[0].prompts[0].ids[0] ^= 1;
  EXPECT_THROW(evaluate_all_plans(model, other, 2, part, {}, {}, StopFlag()), Error);
  EXPECT_THROW(evaluate_all_plans(model, sets, 3, part, {}, {}, StopFlag()), Error);
}

TEST(AllPlans, RefusesImpossibleRequests) {
  const MorphModel model = tiny_morph_model({.layers = 5});
  EXPECT_THROW(evaluate_all_plans(model, {}, 2, {}, {}, {}, StopFlag()), Error);
  EXPECT_THROW(evaluate_all_plans(model, {{20, {}}}, 2, {}, {}, {}, StopFlag()), Error);
  EXPECT_THROW(evaluate_all_plans(model, two_lengths(), 6, {}, {}, {}, StopFlag()), Error);
}

}  // namespace
}  // namespace flashmorph
