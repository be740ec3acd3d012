// SPDX-License-Identifier: Apache-2.0
// distill, finetune, eval of what they trained and their preflight from the outside; kills in the
// middle.
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/run/run_folder.h"
#include "tests/support/engine.h"

namespace flashmorph {
namespace {

using Words = std::vector<std::string>;
const std::string kTeacher = RESOURCES_DIR "/demo/teacher",
                  kBranches = RESOURCES_DIR "/demo/branches/lightning.safetensors";

Words with(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

Words probes() {
  return {"--lengths",  "160", "--depths",        "0,1", "--trials", "2",
          "--passkeys", "1",   "--passkey-words", "4"};
}

Words distill(const Scratch& scratch, const std::string& run, int steps = 4,
              const std::string& batch = "2", const std::string& length = "64") {
  return with({"distill",
               "--model",
               kTeacher,
               "--aligned",
               kBranches,
               "--runs",
               scratch.path().string(),
               "--run",
               run,
               "--device",
               "cpu",
               "--dtype",
               "float32",
               "--threads",
               "1",
               "--distill-steps",
               std::to_string(steps),
               "--distill-batch",
               batch,
               "--distill-length",
               length,
               "--held-out-tokens",
               "128"},
              probes());
}

nlohmann::json json_of(const EngineResult& result) {
  EXPECT_EQ(result.code, 0) << result.err;
  return nlohmann::json::parse(result.out);
}

TEST(HybridCli, DistillFinetuneEvalInARow) {
  const Scratch scratch("hybrid-cli");
  const auto first =
      json_of(run_engine(ENGINE, with(distill(scratch, "d"), {"--plan", "10:1-3", "--json"})));
  EXPECT_EQ(first.at("plan"), "10:1-3");
  EXPECT_EQ(first.at("probes").size(), 2u);
  const auto second = json_of(run_engine(ENGINE, with({"finetune",
                                                       "--model",
                                                       kTeacher,
                                                       "--runs",
                                                       scratch.path().string(),
                                                       "--run",
                                                       "f",
                                                       "--init",
                                                       "d",
                                                       "--device",
                                                       "cpu",
                                                       "--dtype",
                                                       "float32",
                                                       "--finetune-steps",
                                                       "2",
                                                       "--finetune-batch",
                                                       "1",
                                                       "--finetune-length",
                                                       "128",
                                                       "--held-out-tokens",
                                                       "128",
                                                       "--json"},
                                                      probes())));
  EXPECT_EQ(second.at("plan"), "10:1-3");
  EXPECT_EQ(second.at("probes").at(0).at("recall"), first.at("probes").at(1).at("recall"));
  // The evaluation of the distilled weights knows the prompts of the job; other plans and words are
  // refused in a sentence.
  const Words eval = with({"eval", "--model", kTeacher, "--runs", scratch.path().string(), "--run",
                           "d", "--device", "cpu", "--dtype", "float32", "--weights", "distilled",
                           "--text-tokens", "128", "--text-length", "64"},
                          probes());
  const auto evaluated = json_of(run_engine(ENGINE, with(eval, {"--json"})));
  EXPECT_EQ(evaluated.at("plans").at(0).at("plan"), "10:1-3");
  EXPECT_EQ(evaluated.at("plans").at(0).at("recall"), first.at("probes").at(1).at("recall"));
  EXPECT_GT(evaluated.at("plans").at(0).at("text").at("kl_nats").get<double>(), 0);
  const EngineResult other = run_engine(ENGINE, with(eval, {"--plans", "10:1"}));
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("10:1-3"), std::string::npos) << other.err;
  EXPECT_TRUE(std::filesystem::exists(scratch / "d/exports/recall.csv"));
}

TEST(HybridCli, PlansAreTrainedAlikeAndCompared) {
  const Scratch scratch("hybrid-cli");
  const Words words =
      with(distill(scratch, "group", 2), {"--plans", "10:1-3", "uniform,linear", "--budget", "3"});
  const auto json = json_of(run_engine(ENGINE, with(words, {"--json"})));
  const auto& table = json.at("comparison").at("plans");
  ASSERT_EQ(table.size(), 3u);
  EXPECT_EQ(table.at(1).at("plan"), "10:0,3,6");
  EXPECT_EQ(table.at(2).at("plan"), "10:");
  for (const auto& one : table) EXPECT_EQ(one.at("tokens"), 2 * 2 * 64);
  EXPECT_EQ(table.at(1).at("against_first").at("trials"), 4);
  for (const char* run : {"group", "group-10_1-3", "group-uniform", "group-linear"})
    EXPECT_TRUE(std::filesystem::exists(scratch / (std::string(run) + "/exports/comparison.csv")))
        << run;
  // The run of the group holds every recall map, the plans' in order and the teacher's last.
  const RunRecord group = open_run(scratch / "group").record;
  ASSERT_EQ(group.evals.size(), 1u);
  ASSERT_EQ(group.evals[0].evaluations.size(), 4u);
  for (size_t i = 0; i < 3; ++i) {
    const Evaluation& one = group.evals[0].evaluations[i];
    EXPECT_EQ(one.weights, "distilled");
    EXPECT_EQ(group.find_plan(one.plan_id)->plan.to_string(), table.at(i).at("plan"));
    for (size_t d = 0; d < 2; ++d)
      EXPECT_FLOAT_EQ(static_cast<float>(one.grid.at(0, static_cast<int>(d)).score),
                      table.at(i).at("recall_map").at(0).at(d).get<float>());
  }
  EXPECT_EQ(group.find_plan(group.evals[0].evaluations[3].plan_id)->plan.budget(), 10);
  EXPECT_EQ(group.provenance.at("comparison").at("plans").at(0).at("full").size(), 3u);
  // The picture is one program call away, or made.
  const auto& picture = json.at("pictures").at(0);
  EXPECT_EQ(picture.at("made").get<bool>(), std::filesystem::exists(picture.at("file")));
  EXPECT_EQ(picture.at("command").get<std::string>().find("flashmorph-workbench --export compare " +
                                                          (scratch / "group") + " -o "),
            0u)
      << picture;
  // Resuming a finished group trains nothing and gives the same table.
  const EngineResult again = run_engine(ENGINE, with(words, {"--json", "--resume"}));
  const auto same = json_of(again).at("comparison").at("plans");
  for (size_t i = 0; i < table.size(); ++i)
    for (const char* key : {"plan", "recall", "recall_before", "before", "after", "tokens"})
      EXPECT_EQ(same.at(i).at(key), table.at(i).at(key)) << key;
  EXPECT_NE(again.err.find("finished already"), std::string::npos) << again.err;
  // Without --resume a group that exists is left alone.
  const EngineResult taken = run_engine(ENGINE, words);
  EXPECT_EQ(taken.code, 1);
  EXPECT_NE(taken.err.find("exists already"), std::string::npos) << taken.err;
}

// A window's program beside the engine paints, one that fails or hangs its words changes nothing.
TEST(HybridCli, TheWindowsProgramPaintsTheComparison) {
  namespace fs = std::filesystem;
  const Scratch scratch("hybrid-cli painter's");
  fs::create_directory(scratch / "bin");
  const std::string engine = scratch / "bin/flashmorph",
                    painter = scratch / "bin/flashmorph-workbench";
  fs::copy_file(ENGINE, engine);
  const auto paint_with = [&](const std::string& script, const std::string& run) {
    std::ofstream(painter) << "#!/bin/sh\n" << script;
    fs::permissions(painter, fs::perms::owner_all);
    return json_of(run_engine(
        engine, with(distill(scratch, run, 1), {"--plans", "10:1-3", "linear", "--json"})));
  };
  const auto made =
      paint_with("for w; do echo \"$w\" >> \"$5.words\"; done; echo '<svg/>' > \"$5\"\n", "a");
  const fs::path file = scratch / "a/exports/comparison.svg";
  EXPECT_TRUE(made.at("pictures").at(0).at("made").get<bool>()) << made.at("pictures");
  EXPECT_EQ(read_whole(file), "<svg/>\n");
  EXPECT_EQ(read_whole(file.string() + ".words"), "--export\ncompare\n" + (scratch / "a") +
                                                      "\n-o\n" + file.string() +
                                                      "\n--plan\n10:1-3;10:;10:0-9\n");
  const auto failed =
      paint_with("echo first >&2; echo no paint >&2; exit 7\n", "b").at("pictures").at(0);
  EXPECT_FALSE(failed.at("made").get<bool>());
  EXPECT_EQ(failed.at("failure"), "exit status 7: no paint");
  EXPECT_EQ(paint_with("exit 0\n", "c").at("pictures").at(0).at("failure"), "no file was written");
}

TEST(HybridCli, PreflightOfPlansCoversEach) {
  const Scratch scratch("hybrid-cli");
  const Words words = with(distill(scratch, "group"),
                           {"--plans", "10:1-3", "10:", "--preflight", "--measured-steps", "1"});
  const auto json = json_of(run_engine(ENGINE, with(words, {"--json"})));
  ASSERT_EQ(json.at("plans").size(), 2u);
  int64_t weights = 0, checkpoint = 0;
  double seconds = 0;
  for (const auto& one : json.at("plans")) {
    EXPECT_GT(one.at("predicted_peak_bytes").get<int64_t>(), 0);
    EXPECT_LE(one.at("measured_peak_bytes").get<int64_t>(),
              json.at("total").at("peak_bytes").get<int64_t>());
    weights += one.at("disk_weights_bytes").get<int64_t>();
    checkpoint = std::max(checkpoint, one.at("disk_checkpoint_bytes").get<int64_t>());
    seconds += one.at("estimate_s").get<double>();
  }
  EXPECT_EQ(json.at("total").at("disk_bytes"), weights + checkpoint);
  EXPECT_DOUBLE_EQ(json.at("total").at("estimate_s").get<double>(), seconds);
  EXPECT_TRUE(json.at("starts").get<bool>());
  EXPECT_EQ(json.at("plans").at(0).at("name"), "10:1-3");
  // The hybrid without full layers trains more branches.
  EXPECT_NE(json.at("plans").at(0).at("disk_weights_bytes"),
            json.at("plans").at(1).at("disk_weights_bytes"));
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
  // The last plan is looked at before anything is measured.
  const EngineResult bad = run_engine(
      ENGINE, with(distill(scratch, "group"), {"--plans", "10:1-3", "9:1", "--preflight"}));
  EXPECT_EQ(bad.code, 2);
  EXPECT_NE(bad.err.find("9 layers"), std::string::npos) << bad.err;
}

TEST(HybridCli, PreflightTrainsNothing) {
  const Scratch scratch("hybrid-cli");
  const auto json =
      json_of(run_engine(ENGINE, with(distill(scratch, "d"), {"--plan", "10:1-3", "--preflight",
                                                              "--measured-steps", "1", "--json"})));
  EXPECT_TRUE(json.at("starts").get<bool>());
  EXPECT_GT(json.at("predicted_peak_bytes").get<int64_t>(), 0);
  EXPECT_GT(json.at("measured_peak_bytes").get<int64_t>(), 0);
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));
  const EngineResult huge = run_engine(
      ENGINE, with(distill(scratch, "d", 4, "4096", "1000000"),
                   {"--plan", "10:1-3", "--preflight", "--distill-micro-batch", "4096"}));
  EXPECT_EQ(huge.code, 1);
  EXPECT_NE(huge.out.find("stop  memory"), std::string::npos) << huge.out << huge.err;
}

TEST(HybridCli, BadInputLeavesNoRun) {
  const Scratch scratch("hybrid-cli");
  const std::vector<std::pair<Words, std::string>> cases{
      {{}, "--plan"},
      {{"--plan", "nonsense"}, "nonsense"},
      {{"--plan", "9:1"}, "9 layers"},
      {{"--plan", "10:1-3", "--plans", "uniform"}, "--plans"},
      {{"--plan", "10:1-3", "--train-part", "head"}, "train_part"},
      {{"--plan", "10:1-3", "--distill-lr-final", "1"}, "lr_final"},
      {{"--plan", "10:1-3", "--init", "nowhere"}, "nowhere"},
      {{"--plan", "10:1-3", "--weights", "x"}, "--weights"},
      {{"--plans", "uniform", "uniform"}, "twice"},
      {{"--plans", "uniform", "10:0,3,6", "--budget", "3"}, "twice"}};
  for (const auto& [words, named] : cases) {
    const EngineResult result = run_engine(ENGINE, with(distill(scratch, "bad"), words));
    EXPECT_EQ(result.code, 2) << named << ": " << result.err;
    EXPECT_NE(result.err.find(named), std::string::npos) << result.err;
    for (const auto& entry : std::filesystem::directory_iterator(scratch.path())) {
      const OpenedRun left = open_run(entry.path());
      ADD_FAILURE() << named << " left a run behind, " << left.record.state;
      std::filesystem::remove_all(entry.path());
    }
  }
}

// kill -9 somewhere: the run opens, and resuming ends at the very same losses.
TEST(HybridCli, KillsLoseNoCommittedStep) {
  const Scratch scratch("hybrid-cli");
  const Words more{"--plan", "10:1-3", "--checkpoint-every", "3", "--json"};
  const auto start = std::chrono::steady_clock::now();
  const auto truth = json_of(run_engine(ENGINE, with(distill(scratch, "whole", 12), more)));
  const auto took = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - start);
  std::mt19937 random(5);
  Words words = with(distill(scratch, "killed", 12), more);
  int kills = 0;
  for (int round = 0; round < 12; ++round) {
    const std::chrono::milliseconds moment(
        std::uniform_int_distribution<int>(50, static_cast<int>(took.count()))(random));
    const EngineResult result =
        kills < 6 ? run_engine(ENGINE, words, {}, moment) : run_engine(ENGINE, words);
    if (result.code == 0) {
      const auto end = nlohmann::json::parse(result.out);
      EXPECT_EQ(end.at("after"), truth.at("after"));
      EXPECT_EQ(end.at("probes").back().at("recall"), truth.at("probes").back().at("recall"));
      EXPECT_EQ(open_run(scratch / "killed").record.rows(), 12u);
      EXPECT_EQ(open_run(scratch / "killed").record.steps.loss.at("kl"),
                open_run(scratch / "whole").record.steps.loss.at("kl"));
      RecordProperty("kills", kills);
      return;
    }
    ASSERT_EQ(result.code, 128 + SIGKILL) << result.err;
    ++kills;
    if (std::filesystem::exists(scratch / "killed/run.fmrun")) {
      open_run(scratch / "killed");
      if (words.back() != "--resume") words.push_back("--resume");
    } else {
      std::filesystem::remove_all(scratch / "killed");
    }
  }
  FAIL() << "never got through";
}

}  // namespace
}  // namespace flashmorph
