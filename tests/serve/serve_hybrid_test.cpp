// SPDX-License-Identifier: Apache-2.0
// distill.start and finetune.start over pipes: progress, checkpoints, both ways to stop, memory
// given back, resuming bit for bit, bad arguments.
#include <gtest/gtest.h>

#include "core/run/run_folder.h"
#include "tests/serve/strict_client.h"

namespace flashmorph {
namespace {

using namespace pipes;

// A small hybrid job; `more` replaces what it says.
Json options(const std::string& run, const Json& more) {
  Json all = {{"device", "cpu"},  {"dtype", "float32"},    {"threads", 1},
              {"lengths", {128}}, {"depths", {0.0}},       {"trials", 1},
              {"passkeys", 1},    {"passkey_words", 2},    {"held_out_tokens", 64},
              {"text_tokens", 0}, {"checkpoint_every", 2}, {"run", run}};
  all.update(more);
  return all;
}

int64_t rows_of(const Engine& engine, const std::string& job) {
  int64_t rows = 0;
  for (const auto& [method, params] : engine.told)
    if (method == "train.steps" && params.at("job") == job)
      rows += static_cast<int64_t>(params.at("step").size());
  return rows;
}

void expect_same_losses(const std::string& a, const std::string& b, size_t steps) {
  const RunRecord one = open_run(a).record, other = open_run(b).record;
  ASSERT_EQ(one.rows(), steps);
  ASSERT_EQ(other.rows(), steps);
  EXPECT_EQ(one.steps.step, other.steps.step);
  ASSERT_EQ(one.steps.loss.size(), other.steps.loss.size());
  for (const auto& [name, values] : one.steps.loss) {
    const std::vector<float>& theirs = other.steps.loss.at(name);
    ASSERT_EQ(values.size(), theirs.size()) << name;
    for (size_t i = 0; i < values.size(); ++i)
      EXPECT_TRUE(values[i] == theirs[i] || (std::isnan(values[i]) && std::isnan(theirs[i])))
          << name << " of step " << i + 1 << ": " << values[i] << " and " << theirs[i];
  }
}

void start_to_end(Engine& engine, const std::string& method, const Json& params) {
  const Json started = engine.call(method, params);
  ASSERT_TRUE(started.contains("job")) << started.dump();
  engine.wait(started.at("job"), "finished");
}

class HybridJobs : public ::testing::Test {
 protected:
  HybridJobs() : scratch_("serve-hybrid"), engine_(scratch_.path()) {
    engine_.hello();
    engine_.call(
        "model.load",
        {{"model", kTeacher}, {"device", "cpu"}, {"dtype", "float32"}, {"aligned", kBranches}});
  }
  Scratch scratch_;
  Engine engine_;
};

TEST_F(HybridJobs, FinetuneFromStartOverAStopToItsEnd) {
  start_to_end(engine_, "distill.start",
               options("first", {{"plan", "10:1-3"},
                                 {"distill_steps", 2},
                                 {"distill_batch", 1},
                                 {"distill_length", 32}}));
  const Json tune = {
      {"init", "first"}, {"finetune_steps", 12}, {"finetune_batch", 2}, {"finetune_length", 256}};
  start_to_end(engine_, "finetune.start", options("whole", tune));
  const Json started = engine_.call("finetune.start", options("cut", tune));
  ASSERT_TRUE(started.contains("job")) << started.dump();
  EXPECT_NE(started.at("command").get<std::string>().find("flashmorph finetune"),
            std::string::npos);
  const std::string job = started.at("job");
  engine_.until([&] { return rows_of(engine_, job) >= 3; });
  EXPECT_EQ(engine_.call("job.cancel", {{"job", job}, {"mode", "after_checkpoint"}}).at("state"),
            "cancelling");
  engine_.wait(job, "cancelled");
  const size_t kept = open_run(scratch_ / "cut").record.rows();
  EXPECT_GE(kept, 3u);
  ASSERT_LT(kept, 12u);
  EXPECT_TRUE(std::filesystem::exists(scratch_ / "cut/checkpoints/train.safetensors"));
  EXPECT_TRUE(std::any_of(engine_.told.begin(), engine_.told.end(), [&](const auto& one) {
    return one.first == "job.progress" && one.second.at("job") == job;
  }));
  // After the checkpoint no step is lost: resuming trains only what is left.
  const size_t told_before = engine_.told.size();
  const Json resumed = engine_.call("finetune.start", {{"run", "cut"}, {"resume", true}});
  ASSERT_TRUE(resumed.contains("job")) << resumed.dump();
  engine_.wait(resumed.at("job"), "finished");
  int64_t first = 1000;
  for (size_t i = told_before; i < engine_.told.size(); ++i)
    if (engine_.told[i].first == "train.steps") {
      EXPECT_EQ(engine_.told[i].second.at("stage"), "finetune");
      first = std::min(first, engine_.told[i].second.at("step").at(0).get<int64_t>());
    }
  EXPECT_EQ(first, static_cast<int64_t>(kept) + 1);
  expect_same_losses(scratch_ / "whole", scratch_ / "cut", 12);
  EXPECT_EQ(engine_.call("run.open", {{"run", "cut"}}).at("plan"), "10:1-3");
  EXPECT_EQ(engine_.leave(), 0);
}

TEST_F(HybridJobs, BadArgumentsOfFinetuneAreAnsweredAndLeaveNoRun) {
  const std::vector<std::pair<Json, const char*>> cases{
      {{{"init", "nowhere"}}, "nowhere"},
      {{{"plan", "9:1"}}, "9 layers"},
      {Json::object(), "plan"},
      {{{"plan", "10:1-3"}, {"finetune_steps", -1}}, "finetune_steps"},
      {{{"plan", "10:1-3"}, {"finetune_length", "long"}}, "finetune_length"},
      {{{"plan", "10:1-3"}, {"finetune_steppes", 1}}, "finetune_steppes"},
      {{{"plan", "10:1-3"}, {"train_part", "head"}}, "train_part"}};
  for (const auto& [more, named] : cases) {
    const Json answer = engine_.call("finetune.start", options("bad", more));
    ASSERT_NE(code_of(answer), 0) << named << ": " << answer.dump();
    EXPECT_NE(answer["error"]["message"].get<std::string>().find(named), std::string::npos)
        << answer.dump();
    EXPECT_FALSE(std::filesystem::exists(scratch_ / "bad")) << named;
  }
  EXPECT_NE(code_of(engine_.call("finetune.start", {{"run", "none"}, {"resume", true}})), 0);
  EXPECT_EQ(engine_.call("run.list").at("total"), 0);
  EXPECT_EQ(engine_.leave(), 0);
}

TEST_F(HybridJobs, StopNowIsQuickGivesMemoryBackAndResumesBitForBit) {
  // Four micro-batches a step, so that the stop falls into one.
  const Json train = {{"plan", "10:1-3"},
                      {"distill_steps", 5},
                      {"distill_batch", 4},
                      {"distill_micro_batch", 1},
                      {"distill_length", 512}};
  start_to_end(engine_, "distill.start", options("whole", train));
  const int64_t before = engine_.resident_bytes();
  const Json started = engine_.call("distill.start", options("now", train));
  ASSERT_TRUE(started.contains("job")) << started.dump();
  const std::string job = started.at("job");
  int64_t most = 0;
  engine_.until([&] {
    most = std::max(most, engine_.resident_bytes());
    return rows_of(engine_, job) >= 3;
  });
  const auto start = Clock::now();
  engine_.call("job.cancel", {{"job", job}, {"mode", "now"}});
  const double answered = seconds_since(start);
  engine_.wait(job, "cancelled");
  const double took = seconds_since(start);
  const int64_t after = engine_.resident_bytes();
  std::printf(
      "stop now: answered after %.3f s, cancelled after %.2f s; resident %.0f MB before, "
      "%.0f MB while training, %.0f MB after\n",
      answered, took, static_cast<double>(before) * 1e-6, static_cast<double>(most) * 1e-6,
      static_cast<double>(after) * 1e-6);
  RecordProperty("stop_now_ms", static_cast<int>(took * 1000));
  EXPECT_LT(took, 6.0);  // 0.2 s measured, 2 s allowed, on busy cores
  // Weights that train, gradients, moments and activations are gone; the teacher stays.
  EXPECT_GT(most - after, (most - before) / 2);
  EXPECT_GT(engine_.state_params[job].at("freed_bytes").get<int64_t>(), 0);
  EXPECT_GT(engine_.call("model.unload").at("freed_bytes").get<int64_t>(), 0);
  // Steps since the last checkpoint are lost and trained again, to the same bits.
  EXPECT_LT(open_run(scratch_ / "now").record.rows(), 5u);
  start_to_end(engine_, "distill.start", {{"run", "now"}, {"resume", true}});
  expect_same_losses(scratch_ / "whole", scratch_ / "now", 5);
  EXPECT_EQ(engine_.leave(), 0);
}

}  // namespace
}  // namespace flashmorph
