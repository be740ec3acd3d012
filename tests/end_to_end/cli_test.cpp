// SPDX-License-Identifier: Apache-2.0
// The command line from the outside, on the demo teacher: results, exit codes, sentences, --config, --json, Ctrl-C and --resume.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/run/hybrid_config.h"
#include "core/run/run_folder.h"
#include "tests/support/engine.h"

namespace flashmorph {
namespace {

using Words = std::vector<std::string>;
const std::string kTeacher = RESOURCES_DIR "/demo/teacher";
const std::string kBranches = RESOURCES_DIR "/demo/branches/lightning.safetensors";

// A gate run of a second or two.
Words small_gates(const Scratch& scratch, const std::string& run, int steps = 10) {
  return {"gates",     "--model",      kTeacher,   "--aligned",     kBranches, "--runs",     scratch.path().string(),
          "--run",     run,            "--steps",  std::to_string(steps), "--length-min", "128", "--length-max", "192",
          "--passkeys", "1",           "--passkey-words", "4",      "--budget",  "3",        "--dtype", "float32",
          "--device",  "cpu"};
}

nlohmann::json json_of(const EngineResult& result) {
  EXPECT_EQ(result.code, 0) << result.err;
  const auto json = nlohmann::json::parse(result.out, nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << result.out;
  return json;
}

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(Cli, InspectSaysWhatTheModelIs) {
  const auto json = json_of(run_engine(ENGINE, {"inspect", kTeacher, "--json"}));
  EXPECT_EQ(json.at("layers"), 10);
  EXPECT_EQ(json.at("family"), "qwen3");
  EXPECT_EQ(json.at("budgets").at("3:1"), 3);
}

TEST(Cli, TokensGoBothWays) {
  const std::string text = "Clara found a red kettle behind the old market.\n\nalpha bravo";
  const auto ids = json_of(run_engine(ENGINE, {"tokens", kTeacher, "--json"}, text)).at("ids");
  EXPECT_EQ(run_engine(ENGINE, {"tokens", kTeacher, "--decode"}, ids.dump()).out, text);
}

TEST(Cli, LogitsPrintOneObject) {
  const auto json = json_of(run_engine(ENGINE, {"logits", kTeacher, "--ids", "5,6,7,8", "--greedy", "3", "--nll", "--json"}));
  EXPECT_EQ(json.at("ids"), (nlohmann::json{5, 6, 7, 8}));
  EXPECT_EQ(json.at("top_ids").size(), 20u);
  EXPECT_EQ(json.at("top_logits").size(), 20u);
  EXPECT_EQ(json.at("greedy").size(), 3u);
  EXPECT_EQ(json.at("greedy")[0], json.at("top_ids")[0]);
  EXPECT_GT(json.at("nll").get<double>(), 0.0);
}

TEST(Cli, BadInputIsOneSentenceAndExitCodeTwo) {
  const Scratch scratch("cli");
  std::ofstream(scratch / "bad.json") << R"({"stepz": 3})";
  const std::vector<std::pair<Words, std::string>> cases{
      {{"inspect", "/nowhere"}, "/nowhere"},
      {{"gates", "--model", kTeacher, "--penalty", "much"}, "penalty"},
      {{"gates", "--model", kTeacher, "--steps", "-3"}, "steps"},
      {{"gates", "--model", kTeacher, "--config", scratch / "bad.json"}, "stepz"},
      {{"gates", "--model", kTeacher, "--aligned", "/nowhere"}, "/nowhere"},
      {{"logits", kTeacher, "--ids", "100000"}, "vocabulary"},
      {{"logits", kTeacher, "--ids", "1", "--plan", "10:11"}, "plan"},
      {{"eval", "--model", kTeacher, "--aligned", kBranches, "--runs", scratch.path(), "--plans", "nonsense"}, "nonsense"},
      {{"select", "--model", kTeacher, "--aligned", kBranches, "--method", "magic"}, "magic"},
      {{"gates", "--model", kTeacher, "--device", "cuda:99"}, "GPU"},
      {{"nonsense"}, ""}};
  for (const auto& [words, named] : cases) {
    const EngineResult result = run_engine(ENGINE, words);
    EXPECT_EQ(result.code, 2) << words[0] << " " << words.back() << ": " << result.err;
    EXPECT_NE(result.err.find(named), std::string::npos) << result.err;
    EXPECT_EQ(result.err.find("terminate"), std::string::npos) << result.err;
  }
  const EngineResult json = run_engine(ENGINE, {"inspect", "/nowhere", "--json"});
  EXPECT_EQ(nlohmann::json::parse(json.out).at("error").at("data").at("stage"), "load");
}

TEST(Cli, ConfigFileEqualsFlags) {
  const Scratch scratch("cli");
  const auto flags = json_of(run_engine(ENGINE, with(small_gates(scratch, "flags"), {"--json"})));
  std::ofstream(scratch / "job.json") << nlohmann::json{
      {"model", kTeacher}, {"aligned", kBranches}, {"runs", scratch.path().string()}, {"run", "config"}, {"steps", 10},
      {"length_min", 128}, {"length_max", 192}, {"passkeys", 1}, {"passkey_words", 4}, {"budget", 3}, {"dtype", "float32"},
      {"device", "cpu"}, {"json", true}};
  const auto config = json_of(run_engine(ENGINE, {"gates", "--config", scratch / "job.json"}));
  EXPECT_EQ(flags.at("score"), config.at("score"));
  EXPECT_EQ(flags.at("plan"), config.at("plan"));
}

TEST(Cli, TheWholeWayLeavesRunPlanAndTables) {
  const Scratch scratch("cli");
  const Words common{"--model", kTeacher, "--runs", scratch.path(), "--dtype", "float32", "--device", "cpu", "--json"};
  const auto json = json_of(run_engine(
      ENGINE, with({"run", "--run", "way", "--align-steps", "3", "--align-batch", "2", "--align-length", "64", "--held-out-tokens", "256",
                    "--steps", "4", "--length-min", "128", "--length-max", "192", "--passkeys", "1", "--passkey-words", "4", "--budget",
                    "3", "--lengths", "128,160", "--depths", "0,1", "--trials", "2", "--text-tokens", "64", "--text-length", "32"},
                   common)));
  const OpenedRun run = open_run(scratch / "way-gates");
  EXPECT_EQ(run.record.state, "finished");
  EXPECT_EQ(run.record.rows(), 4u);
  ASSERT_EQ(run.record.evals.size(), 1u);
  EXPECT_EQ(run.record.evals[0].evaluations.size(), 4u);   // chosen, uniform, linear, teacher
  for (const Evaluation& one : run.record.evals[0].evaluations) EXPECT_TRUE(one.grid.complete());
  const HybridConfig hybrid = load_hybrid_config(scratch / "way-gates/exports/hybrid_config.json");
  EXPECT_EQ(hybrid.plan.to_string(), json.at("gates").at("plan"));
  EXPECT_EQ(hybrid.plan.budget(), 3);
  EXPECT_EQ(hybrid.selection.run_uuid, run.record.uuid);
  EXPECT_TRUE(std::filesystem::exists(scratch / "way-gates/exports/recall.csv"));
  EXPECT_TRUE(std::filesystem::exists(scratch / "way-align/checkpoints/branches.safetensors"));
  // Everything is known now: evaluating again computes nothing, comparing pairs every prompt.
  const auto compared = json_of(run_engine(
      ENGINE, with({"compare", "--run", "way-gates", "--set", run.record.evals[0].set.name, "--plans", "gates K=3", "uniform",
                    "--budget", "3", "--text-tokens", "0"}, common)));
  EXPECT_EQ(compared.at("paired").at(0).at("trials"), 2 * 2 * 2);
}

TEST(Cli, InterruptSavesAndResumeEndsAtTheSameGates) {
  const Scratch scratch("cli");
  const auto whole = json_of(run_engine(ENGINE, with(small_gates(scratch, "whole", 30), {"--json"})));
  const EngineResult halted =
      run_engine(ENGINE, small_gates(scratch, "halted", 30), {}, std::chrono::milliseconds(1500), SIGINT);
  if (halted.code == 0) GTEST_SKIP() << "the machine was faster than the interrupt";
  ASSERT_EQ(halted.code, 3) << halted.err;
  EXPECT_NE(halted.err.find("--resume"), std::string::npos) << halted.err;
  const auto rest = json_of(run_engine(ENGINE, with(small_gates(scratch, "halted", 30), {"--resume", "--json"})));
  EXPECT_EQ(rest.at("score"), whole.at("score"));
  EXPECT_EQ(rest.at("alpha"), whole.at("alpha"));
  EXPECT_EQ(open_run(scratch / "halted").record.rows(), 30u);
}

TEST(Cli, ReadOnlyPlacesGiveASentence) {
  const EngineResult result = run_engine(ENGINE, {"gates", "--model", kTeacher, "--aligned", kBranches, "--runs", "/proc/nowhere", "--steps",
                                                  "2", "--length-max", "192", "--length-min", "128", "--passkeys", "1", "--passkey-words", "4"});
  EXPECT_NE(result.code, 0);
  EXPECT_NE(result.err.find("error: "), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("/proc/nowhere"), std::string::npos) << result.err;
}

}  // namespace
}  // namespace flashmorph
