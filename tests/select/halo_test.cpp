// SPDX-License-Identifier: Apache-2.0
#include "core/select/halo.h"

#include <gtest/gtest.h>

#include <fstream>

#include "core/run/error.h"
#include "core/run/gate_rank.h"
#include "core/select/ranking.h"
#include "tests/support/tiny_model.h"

namespace flashmorph {
namespace {

TEST(Halo, Golden) {
  std::ifstream file(TEST_DATA_DIR "/golden/halo.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  ASSERT_GE(golden.at("cases").size(), 3U);
  for (const nlohmann::json& one : golden.at("cases")) {
    SCOPED_TRACE(one.at("name").get<std::string>());
    const auto R = one.at("R").get<std::vector<double>>(),
               C = one.at("C").get<std::vector<double>>();
    const auto expected = one.at("scores").get<std::vector<double>>();
    const std::vector<double> scores = halo_scores(R, C);
    ASSERT_EQ(scores.size(), expected.size());
    for (size_t l = 0; l < scores.size(); ++l)
      EXPECT_NEAR(scores[l], expected[l], 1e-9 * std::abs(expected[l])) << l;
    EXPECT_EQ(rank_order(scores, {}), one.at("ranking").get<std::vector<int>>());
    const int K = one.at("K").get<int>();
    EXPECT_EQ(keep_top(scores, K).full, one.at("kept").get<std::vector<int>>());
    std::vector<double> drop;
    for (const double r : R) drop.push_back(one.at("R_teacher").get<double>() - r);
    EXPECT_EQ(keep_top(drop, K).full, one.at("kept_by_recall_drop").get<std::vector<int>>());
  }
}

// The selector with given metrics measures nothing and keeps what the formula says.
TEST(Halo, GivenMetrics) {
  const MorphModel model = tiny_morph_model();
  SelectorInput input;
  input.model = &model;
  input.budget = 2;
  input.recall_metric = {0.2, 0.9, 0.5, 0.8};
  input.control_metric = {0.1, 0.6, 0.5, 0.7};
  const SelectorResult result = run_selector("halo", input, {}, StopFlag());
  EXPECT_EQ(result.score, halo_scores(input.recall_metric, input.control_metric));
  EXPECT_NEAR(result.score[0], 0.7 / 0.6, 1e-8);
  EXPECT_EQ(result.score[3], 50.0);  // the best control is divided by 1e-10
  EXPECT_EQ(result.plan.full, (std::vector<int>{2, 3}));
  EXPECT_EQ(result.evaluations, 0);
  EXPECT_EQ(result.detail.at("control_metric"), "given");
  input.recall_metric.pop_back();
  EXPECT_THROW(run_selector("halo", input, {}, StopFlag()), Error);
}

TEST(Halo, RefusesUnequalLengths) { EXPECT_THROW(halo_scores({1.0, 2.0}, {1.0}), Error); }

}  // namespace
}  // namespace flashmorph
