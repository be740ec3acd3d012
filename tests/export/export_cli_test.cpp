// SPDX-License-Identifier: Apache-2.0
// flashmorph export from the outside, on the demo teacher: check, plan, aligned weights, and
// sentences.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/run/hybrid_config.h"
#include "tests/support/engine.h"

namespace flashmorph {
namespace {

using Words = std::vector<std::string>;
const std::string kTeacher = RESOURCES_DIR "/demo/teacher";
const std::string kBranches = RESOURCES_DIR "/demo/branches/lightning.safetensors";

Words export_of(const Words& more) {
  Words words{"export",  "--model", kTeacher,   "--aligned",
              kBranches, "--plan",  "10:3,6,8", "--quiet"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(ExportCli, CheckNamesEveryProgram) {
  const EngineResult result = run_engine(ENGINE, export_of({"--check", "--json"}));
  ASSERT_EQ(result.code, 0) << result.err;
  const auto rows = nlohmann::json::parse(result.out).at("lint");
  std::map<std::string, std::string> level;
  for (const auto& row : rows)
    level[row.at("target")] =
        std::max(level[row.at("target")], row.at("level").get<std::string>() == "refuse"
                                              ? std::string("z")
                                              : row.at("level").get<std::string>());
  EXPECT_EQ(level.size(), 7u);
  EXPECT_EQ(level.at("transformers"), "z");
  EXPECT_EQ(level.at("hypenet"), "warn");
  EXPECT_EQ(level.at("plan"), "ok");
}

TEST(ExportCli, WritesAFolderAndSaysWhatItHolds) {
  const Scratch scratch("export");
  const EngineResult result = run_engine(
      ENGINE, export_of({"--out", scratch / "hybrid", "--max-shard-bytes", "2000000", "--json"}));
  ASSERT_EQ(result.code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json.at("target"), "hypenet");  // the first that holds lightning branches
  EXPECT_EQ(json.at("dtype"), "bf16");
  EXPECT_EQ(json.at("plan"), "10:3,6,8");
  EXPECT_LT(json.at("mean_kl_nats").get<double>(), 1e-3);
  for (const char* file : {"config.json", "model.safetensors.index.json", "modeling_flashmorph.py",
                           "tokenizer.json", "README.md"})
    EXPECT_TRUE(std::filesystem::exists(scratch.path() / "hybrid" / file)) << file;
  const HybridConfig described =
      load_hybrid_config(scratch.path() / "hybrid" / "hybrid_config.json");
  EXPECT_EQ(described.plan.to_string(), "10:3,6,8");
  EXPECT_EQ(described.branch.kind, "lightning");
  EXPECT_EQ(described.teacher.weights_sha256.size(), 64u);
  EXPECT_NE(described.made_with.command.find("flashmorph export"), std::string::npos);
  const EngineResult again = run_engine(ENGINE, export_of({"--out", scratch / "hybrid"}));
  EXPECT_EQ(again.code, 2) << again.err;
  EXPECT_NE(again.err.find("exists already"), std::string::npos);
}

TEST(ExportCli, PlanAlone) {
  const Scratch scratch("export");
  const EngineResult result =
      run_engine(ENGINE, export_of({"--plan-only", "--out", scratch / "plan.json"}));
  ASSERT_EQ(result.code, 0) << result.err;
  EXPECT_EQ(load_hybrid_config(scratch.path() / "plan.json").plan.to_string(), "10:3,6,8");
}

TEST(ExportCli, RefusalsAreOneSentenceAndExitCodeTwo) {
  const Scratch scratch("export");
  for (const auto& [words, named] : std::vector<std::pair<Words, std::string>>{
           {export_of({"--target", "transformers", "--out", scratch / "a"}), "lightning"},
           {export_of({"--target", "fla", "--out", scratch / "a"}), "q/k norm"},
           {export_of({"--dtype", "q8_0", "--out", scratch / "a"}), "GGUF"},
           {export_of({"--target", "onnx"}), "onnx"},
           {export_of({}), "where"},
           {{"export", "--plan-only"}, "which model"},
           {{"export", "--run", "nowhere", "--plan-only"}, "nowhere"},
           {{"export", "--model", kTeacher, "--plan", "10:1", "--target", "hypenet", "--out",
             scratch / "a"},
            "--aligned"}}) {
    const EngineResult result = run_engine(ENGINE, words);
    EXPECT_EQ(result.code, 2) << words.back() << ": " << result.err;
    EXPECT_NE(result.err.find(named), std::string::npos) << result.err;
    EXPECT_TRUE(std::filesystem::is_empty(scratch.path())) << words.back();
  }
}

}  // namespace
}  // namespace flashmorph
