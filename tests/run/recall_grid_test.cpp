// SPDX-License-Identifier: Apache-2.0
// Cells, Wilson interval, paired statistics; expected numbers from textbooks and by hand.
#include "core/run/recall_grid.h"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "core/run/error.h"

namespace flashmorph {
namespace {

TEST(Wilson, KnownValues) {
  // 15 of 20: 0.5313, 0.8881 (Wilson score without continuity correction).
  EXPECT_NEAR(wilson_interval(15, 20).low, 0.53130, 1e-5);
  EXPECT_NEAR(wilson_interval(15, 20).high, 0.88814, 1e-5);
  // 0 of n: [0, z^2 / (n + z^2)].
  const double z2 = 1.959963984540054 * 1.959963984540054;
  EXPECT_EQ(wilson_interval(0, 10).low, 0.0);
  EXPECT_NEAR(wilson_interval(0, 10).high, z2 / (10 + z2), 1e-12);
  EXPECT_NEAR(wilson_interval(10, 10).low, 10 / (10 + z2), 1e-12);
  EXPECT_EQ(wilson_interval(10, 10).high, 1.0);
  EXPECT_EQ(wilson_interval(0, 0).low, 0.0);
  EXPECT_EQ(wilson_interval(0, 0).high, 1.0);
  EXPECT_THROW(wilson_interval(3, 2), Error);
}

TEST(Wilson, BoundsSolveTheScoreEquation) {
  for (const auto& [hits, n] :
       std::vector<std::pair<int, int>>{{1, 7}, {3, 16}, {8, 9}, {500, 1000}})
    for (const double p : {wilson_interval(hits, n).low, wilson_interval(hits, n).high})
      EXPECT_NEAR(std::abs(static_cast<double>(hits) / n - p),
                  1.959963984540054 * std::sqrt(p * (1 - p) / n), 1e-12);
}

TEST(RecallCell, TotalsOfTrials) {
  RecallGrid grid({512, 1024}, {0, 0.5, 1}, 4);
  RecallCell& cell = grid.at(1, 2);
  EXPECT_TRUE(std::isnan(cell.score));
  cell.add(0, 1.0, 0.5);
  cell.add(2, 0.25, 1.5);
  cell.add(2, 1.0, 9.0);  // already there
  EXPECT_EQ(cell.trials, 2);
  EXPECT_EQ(cell.hits, 1);
  EXPECT_DOUBLE_EQ(cell.score, 0.625);
  EXPECT_DOUBLE_EQ(cell.nll_nats, 1.0);
  EXPECT_TRUE(cell.has(2));
  EXPECT_FALSE(cell.has(1));
  EXPECT_FALSE(grid.complete());
  EXPECT_EQ(grid.trials_run(), 2);
  EXPECT_DOUBLE_EQ(grid.mean_score(), 0.625);
  EXPECT_EQ(grid.worst().length_index, 1);
  EXPECT_EQ(grid.worst().depth_index, 2);
  EXPECT_THROW(cell.add(4, 1, 0), Error);
  EXPECT_THROW(cell.add(1, 1.5, 0), Error);
  EXPECT_THROW(cell.add(1, NAN, 0), Error);
  EXPECT_THROW(grid.at(2, 0), Error);
  EXPECT_THROW(grid.at(0, -1), Error);
}

TEST(Merge, DisjointTrialsAddUpAndNestedOnesStay) {
  RecallGrid a({512}, {0.5}, 4), b({512}, {0.5}, 4);
  a.at(0, 0).add(0, 1, 1.0);
  a.at(0, 0).add(1, 0, 2.0);
  b.at(0, 0).add(2, 1, 4.0);
  RecallGrid both = merge(a, b);
  EXPECT_EQ(both.at(0, 0).trials, 3);
  EXPECT_EQ(both.at(0, 0).hits, 2);
  EXPECT_NEAR(both.at(0, 0).score, 2.0 / 3, 1e-12);
  EXPECT_NEAR(both.at(0, 0).nll_nats, 7.0 / 3, 1e-12);
  EXPECT_EQ(merge(both, a).at(0, 0).trials, 3);
  EXPECT_EQ(merge(a, both).at(0, 0).hits, 2);
  EXPECT_EQ(merge(a, RecallGrid({512}, {0.5}, 8)).trials, 8);
  EXPECT_THROW(merge(a, RecallGrid({513}, {0.5}, 4)), Error);
}

TEST(Merge, AnySplitOfTheTrialsGivesTheWholeCell) {
  std::mt19937 random(3);
  std::uniform_real_distribution<double> uniform(0, 1);
  for (int round = 0; round < 200; ++round) {
    RecallGrid whole({1}, {0}, 12), left = whole, right = whole;
    for (int r = 0; r < 12; ++r) {
      const double score = uniform(random) < 0.4 ? 1.0 : uniform(random), nll = uniform(random);
      whole.at(0, 0).add(r, score, nll);
      (uniform(random) < 0.5 ? left : right).at(0, 0).add(r, score, nll);
    }
    const RecallGrid merged = merge(left, right);
    const RecallCell& cell = merged.at(0, 0);
    EXPECT_EQ(cell.trials, 12);
    EXPECT_EQ(cell.hits, whole.at(0, 0).hits);
    EXPECT_NEAR(cell.score, whole.at(0, 0).score, 1e-12);
    EXPECT_NEAR(cell.nll_nats, whole.at(0, 0).nll_nats, 1e-12);
    EXPECT_EQ(cell.trial_score, whole.at(0, 0).trial_score);
  }
}

TEST(Compare, CountsAndMeanDifference) {
  RecallGrid a({512}, {0.5}, 6), b({512}, {0.5}, 6);
  const double left[] = {1, 1, 0, 0.5, 1}, right[] = {1, 0, 1, 0.0, 0.5};
  for (int r = 0; r < 5; ++r) a.at(0, 0).add(r, left[r], 0), b.at(0, 0).add(r, right[r], 0);
  a.at(0, 0).add(5, 1, 0);  // not common
  const PairedStatistics p = compare(a, b);
  EXPECT_EQ(p.trials, 5);
  EXPECT_EQ(p.both, 1);
  EXPECT_EQ(p.a_only, 2);
  EXPECT_EQ(p.b_only, 1);
  EXPECT_EQ(p.neither, 1);
  EXPECT_EQ(p.a_better, 3);
  EXPECT_EQ(p.b_better, 1);
  EXPECT_NEAR(p.mean_difference, 0.2, 1e-12);  // 0, 1, -1, 0.5, 0.5
  // s = sqrt(sum (d - 0.2)^2 / 4) = sqrt(2.3 / 4), t(4) = 2.776445
  const double half = 2.77644511 * std::sqrt(2.3 / 4 / 5);
  EXPECT_NEAR(p.interval.low, 0.2 - half, 1e-7);
  EXPECT_NEAR(p.interval.high, 0.2 + half, 1e-7);
  EXPECT_NEAR(p.sign_test_p, 0.625, 1e-12);  // 2 (1 + 4) / 16
  const PairedStatistics back = compare(b, a);
  EXPECT_EQ(back.a_only, p.b_only);
  EXPECT_NEAR(back.mean_difference, -p.mean_difference, 1e-12);
}

TEST(Compare, NothingInCommon) {
  RecallGrid a({512}, {0.5}, 2), b = a;
  a.at(0, 0).add(0, 1, 0);
  b.at(0, 0).add(1, 1, 0);
  EXPECT_EQ(compare(a, b).trials, 0);
  EXPECT_TRUE(std::isnan(compare(a, b).mean_difference));
  EXPECT_EQ(compare(a, b).sign_test_p, 1.0);
  EXPECT_THROW(compare(a, RecallGrid({512}, {0.4}, 2)), Error);
}

TEST(SignTest, ExactValues) {
  EXPECT_EQ(sign_test(0, 0), 1.0);
  EXPECT_EQ(sign_test(4, 4), 1.0);
  EXPECT_NEAR(sign_test(7, 2), 2.0 * (1 + 9 + 36) / 512, 1e-12);
  EXPECT_NEAR(sign_test(6, 0), 2.0 / 64, 1e-12);
  EXPECT_NEAR(sign_test(3, 4), 1.0, 1e-12);
  EXPECT_LT(sign_test(5000, 4000), 1e-20);
  EXPECT_GT(sign_test(5000, 4990), 0.9);
}

TEST(StudentT, AgainstTables) {
  const std::pair<int, double> table[] = {{1, 12.70620}, {2, 4.30265},   {10, 2.22814},
                                          {11, 2.20099}, {20, 2.08596},  {30, 2.04227},
                                          {60, 2.00030}, {120, 1.97993}, {100000, 1.95999}};
  for (const auto& [freedom, t] : table) EXPECT_NEAR(student_t_975(freedom), t, 2e-5) << freedom;
  EXPECT_THROW(student_t_975(0), Error);
}

}  // namespace
}  // namespace flashmorph
