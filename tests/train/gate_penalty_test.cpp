// SPDX-License-Identifier: Apache-2.0
// Penalties: closed form, calibration, budget rule, path grid and scores; the history's notices.
#include "core/train/gate_penalty.h"

#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "core/run/error.h"
#include "core/train/gate_trace.h"

namespace flashmorph {
namespace {

double sum(const std::vector<double>& x) { return std::accumulate(x.begin(), x.end(), 0.0); }

TEST(ClosedForm, GatesByHand) {
  // alpha = clamp(1 - lambda L / (2 c), 0, 1), L = 4, lambda = 0.5: 1 - 1/c
  const std::vector<double> alpha = closed_form_gates({0.0, 0.5, 2.0, 4.0}, 0.5, 4);
  EXPECT_EQ(alpha, (std::vector<double>{0, 0, 0.5, 0.75}));
}

TEST(ClosedForm, PenaltyReachesTheBudgetOverFiveOrders) {
  const std::vector<double> c{1e-3, 0.2, 3, 50, 900, 1.1e4};
  for (const double wanted : {0.5, 1.0, 2.0, 4.5}) {
    const double lambda = closed_form_penalty(c, wanted, 6);
    EXPECT_NEAR(sum(closed_form_gates(c, lambda, 6)), wanted, 1e-6) << wanted;
  }
  EXPECT_EQ(closed_form_penalty({0, 0}, 1, 2), 0);
}

TEST(PenaltyScale, OfPressuresIsTheKthLargestWithAFloor) {
  const PenaltyScale scale = scale_of_pressures({0.5, -1.0, 3.0, 0.2}, 2);
  EXPECT_EQ(scale.start, 0.5);
  EXPECT_LT(scale.lowest, 1e-4);
  EXPECT_GT(scale.highest, 3.0);
  EXPECT_EQ(scale_of_pressures({-1, -2, 0.3}, 2).start, 1e-4);
}

TEST(PenaltyText, IsANumberOrAWord) {
  EXPECT_EQ(parse_penalty("0.1").kind, PenaltyKind::fixed);
  EXPECT_EQ(parse_penalty("0.1").value, 0.1);
  EXPECT_EQ(parse_penalty("budget").kind, PenaltyKind::budget);
  EXPECT_EQ(parse_penalty("path").kind, PenaltyKind::path);
  for (const char* bad : {"", "-1", "nan", "inf", "0.1x", "Budget"})
    EXPECT_THROW(parse_penalty(bad), Error) << bad;
}

TEST(BudgetPenalty, MovesOnlyAfterATenthOfTheSteps) {
  GatePenalty penalty({PenaltyKind::budget, 0}, {2.0, 0, 0}, 100, 8, 2);  // K/L = 0.25
  for (int64_t step = 0; step < 10; ++step) penalty.update(step, 1.0);
  EXPECT_EQ(penalty.value(9), 2.0);
  penalty.update(10, 0.75);
  EXPECT_DOUBLE_EQ(penalty.value(11), 2.0 * std::exp(0.05 * 0.5));
  penalty.update(11, 0.0);
  EXPECT_DOUBLE_EQ(penalty.value(12), 2.0 * std::exp(0.05 * 0.25));
  GatePenalty fixed({PenaltyKind::fixed, 0.3}, {}, 100, 8, 2);
  fixed.update(50, 1.0);
  EXPECT_EQ(fixed.value(51), 0.3);
}

TEST(PathPenalty, SegmentsCoverTheStepsAndRise) {
  for (const int64_t steps : {1, 2, 7, 100, 333, 2000}) {
    const GatePenalty penalty({PenaltyKind::path, 0}, {0, 0.01, 100}, steps, 8, 2);
    const auto n = static_cast<int64_t>(penalty.grid().size());
    ASSERT_GE(n, 1);
    EXPECT_EQ(penalty.segment_first(0), 0);
    EXPECT_EQ(penalty.segment_end(n - 1), steps);
    double last = 0;
    for (int64_t step = 0; step < steps; ++step) {
      const int64_t at = penalty.segment(step);
      EXPECT_LE(penalty.segment_first(at), step);
      EXPECT_GT(penalty.segment_end(at), step);
      EXPECT_GE(penalty.value(step), last);
      last = penalty.value(step);
    }
    EXPECT_DOUBLE_EQ(penalty.grid().front(), 0.01);
    if (n > 1) EXPECT_NEAR(penalty.grid().back(), 100, 1e-9);
  }
}

TEST(PathScores, InterpolateInTheLogarithmAndKeepTheOrder) {
  // Layers: falls half way between 1 and 10; at once; never, high; never, lower.
  const std::vector<double> score =
      path_scores({1, 10, 100}, {{0.75, 0.1, 1, 0.9}, {0.25, 0, 1, 0.8}, {0, 0, 0.9, 0.6}});
  EXPECT_NEAR(score[0], 0.5, 1e-12);
  EXPECT_LT(score[1], 0);
  EXPECT_GT(score[2], score[3]);
  EXPECT_GT(score[3], 2);
}

TEST(GateTrace, MeansTheLastFifth) {
  GateTrace history(10, 1, 0);
  for (int i = 0; i < 10; ++i) history.add({i / 10.0}, {i / 10.0});
  EXPECT_NEAR(history.late_mean(0, 10)[0], 0.85, 1e-12);  // steps 8 and 9
  EXPECT_NEAR(history.late_mean(0, 5)[0], 0.4, 1e-12);    // step 4
  EXPECT_NEAR(history.late_mean(0, 3)[0], 0.2, 1e-12);    // at least one step
  EXPECT_TRUE(GateTrace(10, 1, 0).late_mean(0, 10).empty());
}

TEST(GateTrace, TellsIllsOnce) {
  GateTrace ones(10, 2, 1);
  EXPECT_EQ(ones.add({1, 1}, {1.1, 1.1}), "");
  EXPECT_NE(ones.add({1, 1}, {1.1, 1.1}).find("penalty is too small"), std::string::npos);
  EXPECT_EQ(ones.add({1, 1}, {1.1, 1.1}), "");
  EXPECT_NE(ones.notice().find("at step 2"), std::string::npos);

  GateTrace zeros(10, 2, 1);
  zeros.add({0.1, 0.2}, {0.1, 0.2});
  EXPECT_NE(zeros.add({0, 0}, {0, -0.1}).find("penalty is too large"), std::string::npos);

  GateTrace order(10, 3, 1);
  EXPECT_EQ(order.add({0.5, 0.6, 0.7}, {0.5, 0.6, 0.7}), "");
  EXPECT_EQ(order.add({0.5, 0.8, 0.6}, {0.5, 0.8, 0.6}), "");  // another layer leads
  EXPECT_EQ(order.add({0.5, 0.8, 0.6}, {0.5, 0.8, 0.6}), "");
  EXPECT_NE(order.add({0.4, 0.7, 0.1}, {0.4, 0.7, 0.1}).find("have not changed since step 2"), std::string::npos);
  GateTrace sinking(10, 3, 1);  // all still high and close together: nothing is settled
  for (int i = 0; i < 9; ++i) EXPECT_EQ(sinking.add({0.9, 0.95, 0.88}, {0.9, 0.95, 0.88}), "");
  GateTrace equal(10, 2, 1);
  for (int i = 0; i < 9; ++i) EXPECT_EQ(equal.add({0.5, 0.5}, {0.5, 0.5}), "");  // no order at all
}

}  // namespace
}  // namespace flashmorph
