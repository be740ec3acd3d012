// SPDX-License-Identifier: Apache-2.0
#include "core/run/hybrid_config.h"

#include <cmath>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/run/error.h"

namespace flashmorph {
namespace {

using ::testing::HasSubstr;

HybridConfig sample() {
  HybridConfig c;
  c.teacher = {"/home/someone/models/qwen3-1.7b", "c0", "c1", "c2"};
  c.plan = LayerPlan::of(6, {1, 4});
  c.locks = {Lock::free, Lock::full, Lock::free, Lock::linear, Lock::free, Lock::free};
  c.branch = {"lightning", 16, 128, {{"rope", true}}, std::vector<double>{0.7071067811865476, 0.5}};
  c.selection = {"flashmorph",
                 {{"penalty", "budget"}},
                 std::vector<double>{1, 0.1, 1.0 / 3, 0, NAN, 1e-9},
                 std::nullopt,
                 0.2,
                 7,
                 "d1",
                 20000000,
                 "u",
                 12};
  c.training.push_back({"align", 320000000, 20000, 1, "d2"});
  c.target = {"transformers/qwen3_5_text", "bfloat16", true, 0.0078125, 311};
  c.lint.push_back({"sglang", "refuse", "periodic", "SGLang reads 3, 7 as full"});
  c.made_with = {"flashmorph 0.1.0", "2.11.0", "cpu", "flashmorph export --model 'a b'",
                 "2026-11-25T03:53:36Z"};
  return c;
}

std::string refusal(const std::string& text, ErrorCode code = ErrorCode::bad_file) {
  try {
    parse_hybrid_config(text, "hybrid_config.json");
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_THAT(e.what(), HasSubstr("hybrid_config.json"));
    return e.what();
  }
  ADD_FAILURE() << "accepted: " << text;
  return {};
}

TEST(HybridConfig, WritingReadingWritingGivesTheSameText) {
  const std::string text = write_hybrid_config(sample());
  const HybridConfig back = parse_hybrid_config(text, "x");
  EXPECT_EQ(back.plan, sample().plan);
  EXPECT_EQ(back.locks, sample().locks);
  EXPECT_TRUE(back.unknown.empty()) << back.unknown.dump();
  EXPECT_EQ(write_hybrid_config(back), text);
}

TEST(HybridConfig, FormIsTheSpecifiedOne) {
  const std::string text = write_hybrid_config(sample());
  const nlohmann::json json = nlohmann::json::parse(text);
  EXPECT_EQ(json["format"], "flashmorph-hybrid");
  EXPECT_EQ(json["version"], "1.0");
  EXPECT_EQ(json["teacher"]["name"], "qwen3-1.7b");  // no path
  EXPECT_EQ(json["plan"],
            nlohmann::json::parse(
                R"({"layers":6,"full":[1,4],"budget":2,"locks":{"full":[1],"linear":[3]}})"));
  EXPECT_TRUE(json["selection"]["gates"].is_null());
  EXPECT_TRUE(json["selection"]["score"][4].is_null());
  EXPECT_THAT(text, HasSubstr("0.333333333"));
  EXPECT_THAT(text, testing::Not(HasSubstr("0.3333333333")));
  EXPECT_THAT(text, HasSubstr("0.707106781,"));
  // Sorted keys: the members of the outermost object rise.
  std::vector<std::string> keys;
  for (size_t at = text.find("\n  \""); at != std::string::npos; at = text.find("\n  \"", at + 1))
    keys.push_back(text.substr(at + 4, text.find('"', at + 4) - at - 4));
  EXPECT_EQ(keys.size(), json.size());
  EXPECT_TRUE(std::is_sorted(keys.begin(), keys.end()));
}

TEST(HybridConfig, EveryPlanOfEightLayersComesBackExactly) {
  for (int mask = 0; mask < 256; ++mask) {
    HybridConfig c;
    std::vector<int> full;
    for (int l = 0; l < 8; ++l)
      if (mask >> l & 1) full.push_back(l);
    c.plan = LayerPlan::of(8, full);
    EXPECT_EQ(parse_hybrid_config(write_hybrid_config(c), "x").plan, c.plan);
  }
}

TEST(HybridConfig, UnknownKeysSurviveARewriteAtEveryDepth) {
  nlohmann::json json = nlohmann::json::parse(write_hybrid_config(sample()));
  json["version"] = "1.7";
  json["later"] = {{"a", {1, 2.5, nullptr}}};
  json["plan"]["heads"] = {3};
  json["plan"]["locks"]["why"] = "x";
  json["target"]["tensors"]["bytes"] = 5;
  json["training"][0]["note"] = "n";
  json["lint"][0]["cure"] = "c";
  nlohmann::json again =
      nlohmann::json::parse(write_hybrid_config(parse_hybrid_config(json.dump(), "x")));
  EXPECT_EQ(again["version"], "1.0");
  again["version"] = "1.7";
  EXPECT_EQ(again, json);
}

TEST(HybridConfig, BadFilesAreRefusedByField) {
  EXPECT_THAT(refusal(R"({"format":"flashmorph-hybrid","version":"2.1"})", ErrorCode::file_too_new),
              testing::AllOf(HasSubstr("2.1"), HasSubstr("1.")));
  refusal("");
  refusal("[]");
  EXPECT_THAT(refusal(R"({"format":"other","version":"1.0"})"), HasSubstr("format"));
  EXPECT_THAT(refusal(R"({"format":"flashmorph-hybrid","version":"one"})"), HasSubstr("version"));
  EXPECT_THAT(refusal(R"({"format":"flashmorph-hybrid","version":"1.0"})"), HasSubstr("layers"));
  const auto with_plan = [](const char* plan) {
    return std::string(R"({"format":"flashmorph-hybrid","version":"1.0","plan":)") + plan + "}";
  };
  EXPECT_THAT(refusal(with_plan("3")), HasSubstr("plan"));
  EXPECT_THAT(refusal(with_plan(R"({"layers":4})")), HasSubstr("full"));
  EXPECT_THAT(refusal(with_plan(R"({"layers":4,"full":[4]})")), HasSubstr("full"));
  EXPECT_THAT(refusal(with_plan(R"({"layers":4,"full":[1,1]})")), HasSubstr("full"));
  EXPECT_THAT(refusal(with_plan(R"({"layers":4,"full":[1],"budget":2})")), HasSubstr("budget"));
  EXPECT_THAT(refusal(with_plan(R"({"layers":9999999,"full":[1]})")), HasSubstr("layers"));
  EXPECT_THAT(refusal(with_plan(R"({"layers":4,"full":[1],"locks":{"full":[1],"linear":[1]}})")),
              HasSubstr("locked both ways"));
}

TEST(HybridConfig, FilesAreWrittenWhole) {
  const std::filesystem::path path = std::filesystem::temp_directory_path() /
                                     ("hybrid_config_" + std::to_string(getpid()) + ".json");
  save_hybrid_config(path, sample());
  EXPECT_EQ(load_hybrid_config(path).plan, sample().plan);
  std::filesystem::remove(path);
  EXPECT_THROW(load_hybrid_config(path), Error);
}

}  // namespace
}  // namespace flashmorph
