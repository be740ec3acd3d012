// SPDX-License-Identifier: Apache-2.0
#include "core/select/plan_truth.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "core/run/error.h"
#include "core/select/exact.h"

namespace flashmorph {
namespace {

// Four layers, K <= 2: NLL by hand. Pairs: 0.5 + index, so {0,1} is best, {2,3} worst.
PlanTruth table() {
  PlanTruth truth;
  truth.layers = 4;
  truth.max_budget = 2;
  truth.lengths = {128, 256};
  truth.prompts = {4, 4};
  truth.answers = {20, 20};
  truth.batches_done = truth.batches = 2;
  truth.prompts_sha256 = "p";
  truth.teacher_sha256 = "t";
  truth.branches_sha256 = "b";
  truth.evaluation = {{"task", "passkey"}};
  truth.command = "flashmorph truth --budget 2";
  double nll = 0.25;
  for (const LayerPlan& plan : truth_plans(4, 2)) {
    truth.rows.push_back({plan, {nll, nll + 0.5}, {0.5, 0.25}});
    nll += 1;
  }
  return truth;
}

TEST(PlanTruth, RanksByHand) {
  const PlanTruth truth = table();
  const PlanRank best = rank_of(truth, LayerPlan::of(4, {0, 1})).value();
  EXPECT_EQ(best.rank, 1);
  EXPECT_EQ(best.plans, 6);
  EXPECT_EQ(best.percentile, 100);
  EXPECT_EQ(best.regret_nats, 0);
  const PlanRank third = rank_of(truth, LayerPlan::of(4, {0, 3})).value();
  EXPECT_EQ(third.rank, 3);
  EXPECT_EQ(third.percentile, 60);
  EXPECT_EQ(third.regret_nats, 2);
  EXPECT_EQ(third.nll_nats, 0.25 + 7 + 0.25);
  EXPECT_EQ(third.recall, 0.375);
  EXPECT_EQ(third.best, LayerPlan::of(4, {0, 1}));
  EXPECT_EQ(rank_of(truth, LayerPlan::of(4, {2, 3}))->percentile, 0);
  EXPECT_EQ(rank_of(truth, LayerPlan::all_full(4))->plans, 1);
  EXPECT_EQ(rank_of(truth, LayerPlan::all_full(4))->percentile, 100);
  EXPECT_FALSE(rank_of(truth, LayerPlan::of(4, {0, 1, 2})).has_value());
  EXPECT_FALSE(rank_of(truth, LayerPlan::of(5, {0, 1})).has_value());
}

TEST(PlanTruth, EqualPlansShareARank) {
  PlanTruth truth = table();
  truth.rows[6].nll_nats = truth.rows[5].nll_nats;  // the two best pairs
  EXPECT_EQ(rank_of(truth, truth.rows[5].plan)->rank, 1);
  EXPECT_EQ(rank_of(truth, truth.rows[6].plan)->rank, 1);
  EXPECT_EQ(rank_of(truth, truth.rows[7].plan)->rank, 3);
}

TEST(PlanTruth, FileRoundTrip) {
  const std::filesystem::path path =
      std::filesystem::temp_directory_path() / "flashmorph_plan_truth_test.json";
  const PlanTruth truth = table();
  write_plan_truth(path, truth);
  const PlanTruth read = read_plan_truth(path);
  EXPECT_EQ(read.to_json(), truth.to_json());
  // Any JSON reader sees the same.
  std::ifstream file(path);
  EXPECT_EQ(nlohmann::json::parse(file), truth.to_json());
  std::filesystem::remove(path);
  EXPECT_THROW(read_plan_truth(path), Error);
}

TEST(PlanTruth, DamageIsRefusedByName) {
  const auto refused = [](const std::function<void(nlohmann::json&)>& damage, const char* word) {
    nlohmann::json json = table().to_json();
    damage(json);
    try {
      PlanTruth::from_json(json, "demo.json");
      ADD_FAILURE() << word;
    } catch (const Error& error) {
      EXPECT_NE(error.message().find(word), std::string::npos) << error.message();
    }
  };
  refused([](auto& j) { j = nlohmann::json::array(); }, "not a table");
  refused([](auto& j) { j["format"] = "other"; }, "not a table");
  refused([](auto& j) { j["version"] = 2; }, "version 2");
  refused([](auto& j) { j.erase("layers"); }, "layers");
  refused([](auto& j) { j["layers"] = "four"; }, "layers");
  refused([](auto& j) { j["layers"] = 100000; }, "100000");
  refused([](auto& j) { j["max_budget"] = 5; }, "impossible");
  refused([](auto& j) { j["lengths"] = {1}; }, "disagree");
  refused([](auto& j) { j["rows"] = 3; }, "rows");
  refused([](auto& j) { j["rows"].erase(3); }, "missing");
  refused([](auto& j) { j["rows"][1] = j["rows"][2]; }, "twice");
  refused([](auto& j) { j["rows"][1][0] = "5:1"; }, "5:1");
  refused([](auto& j) { j["rows"][1][0] = "4:9"; }, "9");
  refused([](auto& j) { j["rows"][1][1] = {1.0}; }, "number per length");
  refused([](auto& j) { j["rows"][1][1] = {1.0, "x"}; }, "number per length");
  refused([](auto& j) { j["rows"][1] = {"4:0"}; }, "row");
  refused([](auto& j) { j["rows"][1][2][0] = std::nan(""); }, "not finite");
}

}  // namespace
}  // namespace flashmorph
