// SPDX-License-Identifier: Apache-2.0
// Budget solver: cases by hand, then properties over random scores and locks against a naive twin.
#include "core/run/budget_solver.h"

#include <algorithm>
#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/run/error.h"

namespace flashmorph {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(BudgetSolver, KeepsTheBest) {
  const BudgetSolution s = solve_budget({0.1, 0.9, 0.4, 0.8}, {}, 2);
  EXPECT_EQ(s.plan.to_string(), "4:1,3");
  EXPECT_EQ(s.budget, 2);
  EXPECT_EQ(s.moved, "");
  EXPECT_EQ(s.last_kept, 3);
  EXPECT_EQ(s.first_dropped, 2);
  EXPECT_DOUBLE_EQ(*s.gap, 0.4);
  EXPECT_FALSE(s.close);
  EXPECT_THAT(s.band, IsEmpty());
  EXPECT_THAT(s.order, ElementsAre(1, 3, 2, 0));
}

TEST(BudgetSolver, LocksCountInsideTheBudget) {
  const BudgetSolution s =
      solve_budget({0.1, 0.9, 0.4, 0.8}, {}, 2, {Lock::full, Lock::linear, Lock::free, Lock::free});
  EXPECT_EQ(s.plan.to_string(), "4:0,3");
  EXPECT_THAT(s.order, ElementsAre(3, 2));
}

TEST(BudgetSolver, ImpossibleBudgetsMoveAndSaySo) {
  const std::vector<double> score = {0.1, 0.9, 0.4, 0.8};
  const BudgetSolution few =
      solve_budget(score, {}, 1, {Lock::full, Lock::free, Lock::full, Lock::free});
  EXPECT_EQ(few.budget, 2);
  EXPECT_EQ(few.moved, "2 layers are locked full, so K moved from 1 to 2");
  const BudgetSolution many =
      solve_budget(score, {}, 4, {Lock::linear, Lock::free, Lock::free, Lock::free});
  EXPECT_EQ(many.budget, 3);
  EXPECT_EQ(many.moved, "1 layer is locked linear, so K moved from 4 to 3");
  EXPECT_THAT(solve_budget(score, {}, 9).moved, HasSubstr("the model has 4 layers"));
  EXPECT_EQ(solve_budget(score, {}, -1).budget, 0);
}

TEST(BudgetSolver, CloseListsTheLayersWithinTheBand) {
  const BudgetSolution s = solve_budget({0.50, 0.505, 0.49, 0.515, 0.9, 0.2}, {}, 3);
  EXPECT_EQ(s.plan.to_string(), "6:1,3-4");
  EXPECT_TRUE(s.close);
  EXPECT_FALSE(s.undetermined);
  EXPECT_THAT(s.band, ElementsAre(3, 1, 0, 2));
}

TEST(BudgetSolver, UndeterminedOnlyWhenEqualByAllButIndex) {
  EXPECT_TRUE(solve_budget({0.5, 0.5, 0.5}, {0.1, 0.1, 0.1}, 1).undetermined);
  EXPECT_FALSE(solve_budget({0.5, 0.5, 0.5}, {0.1, 0.3, 0.1}, 1).undetermined);
  EXPECT_EQ(solve_budget({0.5, 0.5, 0.5}, {0.1, 0.3, 0.1}, 1).plan.to_string(), "3:1");
  EXPECT_TRUE(solve_budget({0.5, 0.5, 0.5}, {0.1, 0.3, 0.1}, 2).undetermined);
}

TEST(BudgetSolver, NoGapWithoutBothSides) {
  EXPECT_FALSE(solve_budget({0.5, 0.4}, {}, 0).gap.has_value());
  EXPECT_FALSE(solve_budget({0.5, 0.4}, {}, 2).gap.has_value());
}

TEST(BudgetSolver, NotANumberIsWorst) {
  EXPECT_EQ(solve_budget({std::nan(""), -1e9, 3}, {}, 2).plan.to_string(), "3:1-2");
  EXPECT_TRUE(solve_budget({std::nan(""), std::nan("")}, {}, 1).undetermined);
}

TEST(BudgetSolver, SizesThatDisagreeAreRefused) {
  EXPECT_THROW(solve_budget({}, {}, 1), Error);
  EXPECT_THROW(solve_budget({1, 2}, {1}, 1), Error);
  EXPECT_THROW(solve_budget({1, 2}, {}, 1, {Lock::full}), Error);
}

TEST(BudgetSolver, RatiosRoundHalfUp) {
  EXPECT_EQ(budget_of_ratio(28, 3), 7);
  EXPECT_EQ(budget_of_ratio(28, 6), 4);
  EXPECT_EQ(budget_of_ratio(28, 1), 14);
  EXPECT_EQ(budget_of_ratio(30, 3), 8);
  EXPECT_EQ(budget_of_ratio(30, 6), 4);
  EXPECT_EQ(budget_of_ratio(30, 1), 15);
  EXPECT_EQ(budget_of_ratio(48, 3), 12);
  EXPECT_EQ(budget_of_ratio(2, 6), 1);
}

struct Case {
  std::vector<double> score, tie;
  std::vector<Lock> locks;
  int layers() const { return static_cast<int>(score.size()); }
};

// Few distinct values, so that ties at every level are common.
Case random_case(std::mt19937& random) {
  Case c;
  const int layers = std::uniform_int_distribution<int>(1, 64)(random);
  const int distinct = std::uniform_int_distribution<int>(1, 40)(random);
  for (int l = 0; l < layers; ++l) {
    c.score.push_back(std::uniform_int_distribution<int>(0, distinct)(random) / 64.0);
    c.tie.push_back(std::uniform_int_distribution<int>(0, 2)(random));
    const int lock = std::uniform_int_distribution<int>(0, 5)(random);
    c.locks.push_back(lock == 1 ? Lock::full : lock == 2 ? Lock::linear : Lock::free);
  }
  return c;
}

bool better(const Case& c, int a, int b) {  // the rule of the method, pair by pair
  const auto i = static_cast<size_t>(a), j = static_cast<size_t>(b);
  if (c.score[i] != c.score[j]) return c.score[i] > c.score[j];
  if (c.tie[i] != c.tie[j]) return c.tie[i] > c.tie[j];
  return a < b;
}

TEST(BudgetSolverProperties, TwoThousandRandomCases) {
  std::mt19937 random(7);
  for (int round = 0; round < 2000; ++round) {
    const Case c = random_case(random);
    const int locked_full =
        static_cast<int>(std::count(c.locks.begin(), c.locks.end(), Lock::full));
    const int locked_linear =
        static_cast<int>(std::count(c.locks.begin(), c.locks.end(), Lock::linear));
    const int K = std::uniform_int_distribution<int>(-2, c.layers() + 2)(random);
    const BudgetSolution s = solve_budget(c.score, c.tie, K, c.locks);
    SCOPED_TRACE(testing::Message()
                 << "round " << round << ", K " << K << ", plan " << s.plan.to_string());

    EXPECT_EQ(s.budget, std::clamp(K, locked_full, c.layers() - locked_linear));
    EXPECT_EQ(s.plan.budget(), s.budget);
    EXPECT_EQ(s.plan.layers, c.layers());
    EXPECT_EQ(s.moved.empty(), s.budget == K);
    EXPECT_EQ(LayerPlan::of(s.plan.layers, s.plan.full), s.plan);
    for (int l = 0; l < c.layers(); ++l) {
      const Lock lock = c.locks[static_cast<size_t>(l)];
      EXPECT_TRUE(lock == Lock::free || s.plan.is_full(l) == (lock == Lock::full)) << l;
    }
    // No dropped free layer is better than a kept free one, and the two at the cut are what they
    // claim to be.
    double least_kept = INFINITY, most_dropped = -INFINITY;
    for (const int a : s.order)
      for (const int b : s.order)
        if (s.plan.is_full(a) && !s.plan.is_full(b)) {
          EXPECT_TRUE(better(c, a, b)) << a << " " << b;
          least_kept = std::min(least_kept, c.score[static_cast<size_t>(a)]);
          most_dropped = std::max(most_dropped, c.score[static_cast<size_t>(b)]);
        }
    ASSERT_EQ(s.gap.has_value(), std::isfinite(least_kept));
    if (s.gap) {
      EXPECT_EQ(*s.gap, least_kept - most_dropped);
      EXPECT_GE(*s.gap, 0);
      EXPECT_EQ(s.close, *s.gap < kCloseGap);
      EXPECT_EQ(s.band.empty(), !s.close);
      if (s.close) {
        EXPECT_THAT(s.band, testing::Contains(s.last_kept));
        EXPECT_THAT(s.band, testing::Contains(s.first_dropped));
      }
      const auto a = static_cast<size_t>(s.last_kept), b = static_cast<size_t>(s.first_dropped);
      EXPECT_EQ(s.undetermined, c.score[a] == c.score[b] && c.tie[a] == c.tie[b]);
    }
    EXPECT_TRUE(std::is_sorted(s.order.begin(), s.order.end(),
                               [&](int a, int b) { return better(c, a, b); }));
  }
}

TEST(BudgetSolverProperties, PlansGrowWithTheBudget) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    const Case c = random_case(random);
    std::vector<int> before = solve_budget(c.score, c.tie, 0, c.locks).plan.full;
    for (int K = 1; K <= c.layers(); ++K) {
      const std::vector<int> now = solve_budget(c.score, c.tie, K, c.locks).plan.full;
      EXPECT_TRUE(std::includes(now.begin(), now.end(), before.begin(), before.end()))
          << "round " << round << " K " << K;
      EXPECT_LE(now.size(), before.size() + 1);
      before = now;
    }
  }
}

TEST(BudgetSolverProperties, LockingWhatIsKeptChangesNothing) {
  std::mt19937 random(13);
  for (int round = 0; round < 300; ++round) {
    Case c = random_case(random);
    const BudgetSolution s = solve_budget(c.score, c.tie, c.layers() / 2, c.locks);
    if (s.last_kept < 0) continue;
    c.locks[static_cast<size_t>(s.last_kept)] = Lock::full;
    EXPECT_EQ(solve_budget(c.score, c.tie, s.budget, c.locks).plan, s.plan);
  }
}

}  // namespace
}  // namespace flashmorph
