// SPDX-License-Identifier: Apache-2.0
// Score, order and notices of gate histories made by hand.
#include "core/run/gate_rank.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/run/error.h"

namespace flashmorph {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

GateHistory constant(int steps, const std::vector<double>& row) {
  GateHistory history;
  for (int s = 1; s <= steps; ++s) history.add(s, row, row);
  return history;
}

TEST(GateRank, ScoreIsTheMeanOfTheLastFifth) {
  GateHistory history;
  for (int s = 1; s <= 10; ++s) {
    const double a = s <= 8 ? 0.0 : (s == 9 ? 0.5 : 1.0);  // the last fifth of 10 steps: 9 and 10
    history.add(s, {a, 0.25}, {a + 3, 0.25});
  }
  const GateScore score = rank_gates(history);
  EXPECT_DOUBLE_EQ(score.score[0], 0.75);
  EXPECT_DOUBLE_EQ(score.score[1], 0.25);
  EXPECT_EQ(score.first_step, 9);
  EXPECT_EQ(score.last_step, 10);
  EXPECT_THAT(score.tie_break, ElementsAre(4.0, 0.25));
}

TEST(GateRank, AnEarlierMomentCanBeAskedFor) {
  GateHistory history;
  for (int s = 1; s <= 20; ++s) history.add(s, {s / 32.0}, {s / 32.0});
  const GateScore score = rank_gates(history, 0.2, 5);
  EXPECT_DOUBLE_EQ(score.score[0], 5 / 32.0);  // steps above 4 of 5
  EXPECT_EQ(score.last_step, 5);
}

TEST(GateRank, ThinnedRowsStandForTheStepsSinceTheRowBefore) {
  GateHistory thinned;
  // Steps 81..100 count: rows 90 (10 steps), 92 (2), 100 (8).
  for (const auto& [s, a] :
       std::vector<std::pair<int, double>>{{80, 0.0}, {90, 0.2}, {92, 0.4}, {100, 1.0}})
    thinned.add(s, {a}, {a});
  EXPECT_NEAR(rank_gates(thinned).score[0], (10 * 0.2 + 2 * 0.4 + 8 * 1.0) / 20,
              1e-6);  // alpha is stored as float
}

TEST(GateRank, WithoutRowsEveryGateIsStillOne) {
  GateHistory history;
  history.layers = 3;
  EXPECT_THAT(rank_gates(history).score, ElementsAre(1, 1, 1));
}

TEST(GateRank, OrderTakesScoreThenFinalValueThenIndex) {
  EXPECT_THAT(rank_order({0.5, 0.9, 0.5, 0.5}, {0.1, 0.0, 0.3, 0.1}), ElementsAre(1, 2, 0, 3));
  EXPECT_THAT(rank_order({1, 1, 1}, {}), ElementsAre(0, 1, 2));
  EXPECT_THAT(rank_order({std::nan(""), -5, std::nan("")}, {}), ElementsAre(1, 0, 2));
}

TEST(GateRank, SizesThatDisagreeAreRefused) {
  GateHistory history = constant(3, {1, 1});
  history.alpha.pop_back();
  EXPECT_THROW(rank_gates(history), Error);
  EXPECT_THROW(history.add(3, {1, 1}, {1, 1}), Error);  // the step does not rise
  EXPECT_THROW(history.add(4, {1}, {1}), Error);
}

std::vector<GateNoticeKind> kinds(const std::vector<GateNotice>& notices) {
  std::vector<GateNoticeKind> list;
  for (const GateNotice& notice : notices) list.push_back(notice.kind);
  return list;
}

TEST(GateNotices, AllGatesAtOneAreAnIllOnlyAfterAFifth) {
  EXPECT_TRUE(gate_notices(constant(19, {1, 1, 1}), 100).empty());
  const auto notices = gate_notices(constant(20, {1, 1, 1}), 100);
  ASSERT_THAT(kinds(notices), ElementsAre(GateNoticeKind::all_full));
  EXPECT_THAT(notices[0].message, HasSubstr("too small"));
}

TEST(GateNotices, AllGatesAtZero) {
  const auto notices = gate_notices(constant(30, {0, 0.001, 0}), 100);
  ASSERT_THAT(kinds(notices), ElementsAre(GateNoticeKind::all_linear));
  EXPECT_THAT(notices[0].message, HasSubstr("too large"));
}

TEST(GateNotices, OneMovedGateIsHealthy) {
  GateHistory history;
  for (int s = 1; s <= 30; ++s) history.add(s, {1, 1 - 0.01 * s}, {1, 1 - 0.01 * s});
  // Healthy, and the order has stood since step 1: after a fifth of the steps one may stop.
  EXPECT_THAT(kinds(gate_notices(history, 1000)), ElementsAre());
  EXPECT_THAT(kinds(gate_notices(history, 100)), ElementsAre(GateNoticeKind::order_unchanged));
}

TEST(GateNotices, OrderChangedWithinTheLastFifthIsNotStable) {
  GateHistory history;
  for (int s = 1; s <= 100; ++s) {
    const double a =
        s < 90 ? 0.8 : 0.1;  // layer 0 falls below layer 1 in the average some steps later
    history.add(s, {a, 0.5}, {a, 0.5});
  }
  EXPECT_TRUE(gate_notices(history, 100).empty());
}

TEST(GateNotices, KeptSetMayStandWhileTheOrderWithinMoves) {
  GateHistory history;
  for (int s = 1; s <= 100; ++s) {
    const double wave = s / 10 % 2 == 0 ? 0.9 : 0.7;
    history.add(s, {wave, 1.6 - wave, 0.3, 0.1}, {wave, 1.6 - wave, 0.3, 0.1});
  }
  EXPECT_THAT(kinds(gate_notices(history, 100, 2)), ElementsAre(GateNoticeKind::kept_unchanged));
  EXPECT_TRUE(gate_notices(history, 100).empty());
}

TEST(GateNotices, GatesThatSinkTogetherAreNotSettled) {
  EXPECT_TRUE(gate_notices(constant(50, {0.9, 0.95, 0.88}), 100, 1).empty());
  EXPECT_THAT(kinds(gate_notices(constant(50, {0.9, 0.95, 0.7}), 100, 2)),
              ElementsAre(GateNoticeKind::order_unchanged));
}

TEST(GateNotices, NonFiniteNamesStepAndLayer) {
  GateHistory history = constant(5, {1, 1, 1});
  history.add(6, {1, 1, std::numeric_limits<double>::quiet_NaN()}, {1, 1, 1});
  const auto notices = gate_notices(history, 100);
  ASSERT_THAT(kinds(notices), ElementsAre(GateNoticeKind::non_finite));
  EXPECT_EQ(notices[0].step, 6);
  EXPECT_EQ(notices[0].layer, 2);
  EXPECT_THAT(notices[0].message, HasSubstr("layer 2"));
}

}  // namespace
}  // namespace flashmorph
