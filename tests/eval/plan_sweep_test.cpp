// SPDX-License-Identifier: Apache-2.0
#include "core/eval/plan_sweep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "core/run/error.h"
#include "tests/support/tiny_model.h"

namespace flashmorph {
namespace {

std::vector<LayerPlan> every_plan(int L) {
  std::vector<LayerPlan> plans;
  for (int bits = 0; bits < (1 << L); ++bits) {
    std::vector<int> full;
    for (int l = 0; l < L; ++l)
      if (bits >> l & 1) full.push_back(l);
    plans.push_back(LayerPlan::of(L, full));
  }
  return plans;
}

double difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

// Same operations on the same numbers, so bit for bit, except where the last feed-forward sees
// fewer rows.
TEST(PlanSweep, EveryPlanEqualsItsOwnForward) {
  const at::NoGradGuard no_grad;
  const MorphModel model = tiny_morph_model();
  const at::Tensor ids = tiny_ids(3, 37);
  std::vector<LayerPlan> plans = every_plan(4);
  std::shuffle(plans.begin(), plans.end(), std::mt19937(7));
  std::vector<int> visits(plans.size(), 0);
  const SweepCost cost =
      sweep_plans(model, ids, plans, std::nullopt, [&](size_t p, const at::Tensor& states) {
        ++visits[p];
        EXPECT_TRUE(at::equal(states, model.states(ids, plans[p]))) << plans[p].to_string();
      });
  EXPECT_EQ(visits, std::vector<int>(plans.size(), 1));
  EXPECT_EQ(cost.plans, 16);
  EXPECT_EQ(cost.tokens, 16 * 3 * 37);
  EXPECT_EQ(cost.layer_passes, 2 + 4 + 8 + 16);  // nodes of the tree, not 16 x 4
}

TEST(PlanSweep, RowsAreTheRowsOfTheWhole) {
  const at::NoGradGuard no_grad;
  const MorphModel model = tiny_morph_model();
  const at::Tensor ids = tiny_ids(3, 37);
  const RowIndex rows{at::tensor({0, 0, 2}, at::kLong), at::tensor({5, 36, 17}, at::kLong)};
  const std::vector<LayerPlan> plans = every_plan(4);
  sweep_plans(model, ids, plans, rows, [&](size_t p, const at::Tensor& states) {
    const at::Tensor whole = model.states(ids, plans[p]).index({rows.sequence, rows.position});
    EXPECT_LT(difference(states, whole), 1e-6)
        << plans[p].to_string();  // measured 1.3e-7: other blocking of the products
  });
}

TEST(PlanSweep, SwapsCostHalf) {
  const MorphModel model = tiny_morph_model({.layers = 6});
  std::vector<LayerPlan> swaps;
  for (int l = 0; l < 6; ++l) {
    swaps.push_back(LayerPlan::all_full(6));
    std::erase(swaps.back().full, l);
  }
  swaps.push_back(LayerPlan::all_full(6));
  const SweepCost cost =
      sweep_plans(model, tiny_ids(1, 9), swaps, std::nullopt, [](size_t, const at::Tensor&) {});
  EXPECT_EQ(cost.layer_passes, 6 + (1 + 2 + 3 + 4 + 5 + 6));
}

TEST(PlanSweep, EqualPlansAreVisitedEach) {
  const at::NoGradGuard no_grad;
  const MorphModel model = tiny_morph_model();
  const at::Tensor ids = tiny_ids(1, 12);
  const std::vector<LayerPlan> plans(3, LayerPlan::of(4, {1}));
  int visits = 0;
  sweep_plans(model, ids, plans, std::nullopt, [&](size_t, const at::Tensor& states) {
    ++visits;
    EXPECT_TRUE(at::equal(states, model.states(ids, plans[0])));
  });
  EXPECT_EQ(visits, 3);
}

// Long inputs are cut into pieces; every kind of mixer must not notice. Measured at most 2.1e-7.
TEST(PlanSweep, PiecesJoinToTheWhole) {
  const at::NoGradGuard no_grad;
  for (const BranchKind kind : {BranchKind::plain, BranchKind::lightning, BranchKind::gla,
                                BranchKind::gdn, BranchKind::window}) {
    const MorphModel model = tiny_morph_model({}, 1, kind);
    const at::Tensor x = model.teacher().embed(tiny_ids(2, 301));
    const RopeTable rope = model.teacher().rope_table(0, 301);
    for (const bool full : {true, false})
      for (const int64_t piece : {64, 100, 300})
        EXPECT_LT(difference(mixer_output(model, 1, x, rope, full, nullptr, piece),
                             mixer_output(model, 1, x, rope, full, nullptr, 301)),
                  2e-6)
            << to_string(kind) << (full ? " full " : " linear ") << piece;
  }
}

TEST(PlanSweep, StopsBetweenLayers) {
  const MorphModel model = tiny_morph_model();
  const StopFlag stop;
  int visits = 0;
  try {
    sweep_plans(
        model, tiny_ids(1, 9), every_plan(4), std::nullopt,
        [&](size_t, const at::Tensor&) {
          if (++visits == 3) stop.set();
        },
        &stop);
    FAIL() << "not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::stopped);
  }
  EXPECT_EQ(visits, 3);
}

TEST(PlanSweep, PlanOfAnotherModelIsRefused) {
  const MorphModel model = tiny_morph_model();
  EXPECT_THROW(sweep_plans(model, tiny_ids(1, 9), {LayerPlan::all_full(5)}, std::nullopt,
                           [](size_t, const at::Tensor&) {}),
               Error);
}

}  // namespace
}  // namespace flashmorph
