// SPDX-License-Identifier: Apache-2.0
// distill and finetune as jobs on the demo teacher: what they leave, stops of every kind, resuming,
// other teachers, preflight.
#include "core/jobs/hybrid_job.h"

#include <cmath>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "core/jobs/preflight.h"
#include "core/load/safetensors.h"
#include "core/run/error.h"
#include "tests/support/engine.h"

namespace flashmorph {
namespace {

constexpr const char* kTeacher = RESOURCES_DIR "/demo/teacher";
constexpr const char* kBranches = RESOURCES_DIR "/demo/branches/lightning.safetensors";

Session& demo() {
  static Session session(kTeacher, at::kCPU, at::kFloat);
  return session;
}

RunConfig small(const Scratch& scratch, const std::string& run,
                const std::string& command = "distill") {
  RunConfig config = default_config(command);
  config.model = kTeacher;
  config.runs = scratch.path();
  config.run = run;
  config.text = "story";
  if (command == "distill") {
    config.aligned = kBranches;
    config.plan = "10:1-3";
  }
  config.distill_steps = config.finetune_steps = 6;
  config.distill_batch = config.finetune_batch = 2;
  config.distill_length = config.finetune_length = 64;
  config.distill_lr = 5e-5;
  config.distill_lr_final = 1e-5;
  config.held_out_tokens = 128;
  config.held_out_every = 2;
  config.lengths = {160};
  config.depths = {0, 1};
  config.trials = 2;
  config.passkeys = 1;
  config.passkey_words = 4;
  return config;
}

struct Ended {
  HybridOutcome outcome;
  RunRecord record;
  std::filesystem::path folder;
  std::vector<double> losses;
};

// stop_after: set the flag in the event of that step.
Ended run(const RunConfig& config, int64_t stop_after = 0, StopWish wish = StopWish::save) {
  RunInHand hand = open_job_run(demo(), config, config.command, "test");
  Ended ended;
  ended.folder = hand.folder.path;
  {
    Recorder recorder(hand.folder, std::move(hand.record));
    Job job{demo(), config, recorder, StopFlag(), {}, "j1", "test"};
    job.stop_wish = [wish] { return wish; };
    job.listener.event = [&](const Event& event) {
      if (const auto* step = std::get_if<TrainStepsEvent>(&event)) {
        ended.losses.push_back(step->loss[0]);
        if (step->step[0] == stop_after) job.stop.set();
      }
    };
    ended.outcome = run_hybrid_job(job, hand.resumed);
    recorder.close(ended.outcome.result.stopped ? "cancelled" : "finished");
  }
  ended.record = open_run(ended.folder).record;
  return ended;
}

TEST(HybridJob, LeavesWeightsRowsAndProbes) {
  const Scratch scratch("hybrid-job");
  RunConfig config = small(scratch, "d");
  config.probe_every = 4;
  const Ended ended = run(config);
  EXPECT_FALSE(ended.outcome.result.stopped);
  const RunRecord& record = ended.record;
  EXPECT_EQ(record.kind, "distill");
  ASSERT_EQ(record.rows(), 6u);
  EXPECT_EQ(record.steps.tokens.back(), 6u * 2 * 64);
  const auto& kl = record.steps.loss.at("held_out_kl");
  EXPECT_TRUE(std::isnan(kl[0]));
  EXPECT_FALSE(std::isnan(kl[1]));
  EXPECT_EQ(record.steps.loss.at("kl").size(), 6u);
  ASSERT_EQ(record.evals.size(), 1u);
  std::vector<std::string> weights;
  for (const Evaluation& one : record.evals[0].evaluations) {
    weights.push_back(one.weights);
    EXPECT_TRUE(one.grid.complete()) << one.weights;
  }
  EXPECT_EQ(weights, (std::vector<std::string>{"aligned", "step-4", "distilled"}));
  EXPECT_TRUE(std::filesystem::exists(ended.folder / "checkpoints/hybrid.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(ended.folder / "checkpoints/train.safetensors"));
  const HybridFileInfo info = hybrid_file_info(ended.outcome.file);
  EXPECT_EQ(info.metadata.at("run_uuid"), record.uuid);
  EXPECT_EQ(info.metadata.at("tokens"), "768");
  EXPECT_EQ(info.plan.to_string(), "10:1-3");

  // The evaluator sees what the job saw: same weights, same prompts, nothing left to compute; the
  // text metrics are the hybrid's.
  RunConfig eval = default_config("eval");
  eval.model = kTeacher;
  eval.runs = config.runs;
  eval.run = "d";
  eval.weights = "distilled";
  eval.lengths = config.lengths;
  eval.depths = config.depths;
  eval.trials = 3;
  eval.passkeys = 1;
  eval.passkey_words = 4;
  eval.text_tokens = 128;
  eval.text_length = 64;
  RunInHand hand = open_job_run(demo(), eval, "eval", "test");
  Recorder recorder(hand.folder, std::move(hand.record));
  const Job job{demo(), eval, recorder, StopFlag(), {}, "j2", "test"};
  const EvalOutcome outcome = run_eval_job(job, eval_set_of(eval, recorder.record()),
                                           {{"own", "hand", LayerPlan::parse("10:1-3")}});
  ASSERT_TRUE(outcome.plans[0].text.has_value());
  EXPECT_GT(outcome.plans[0].text->kl_nats, 0);
  EXPECT_TRUE(outcome.plans[0].grid.complete());
  EXPECT_THROW(run_eval_job(job, outcome.set, {{"other", "hand", LayerPlan::parse("10:1")}}),
               Error);
  recorder.close("finished");
}

// Fewer tokens do not do: the first steps of Adam move by lr whatever the gradient, and 6 to 12
// steps of 128 to 512 tokens raise it.
TEST(HybridJob, LowersTheKlOfTheDemoTeacher) {
  const Scratch scratch("hybrid-job");
  RunConfig config = small(scratch, "d");
  config.distill_steps = 24;
  config.distill_batch = 8;
  config.distill_length = 128;
  config.distill_lr = 2e-4;
  config.held_out_tokens = 2048;
  const Ended ended = run(config);
  EXPECT_LT(ended.outcome.result.after->kl_nats, 0.9 * ended.outcome.result.before->kl_nats);
}

TEST(HybridJob, StopsAreResumedToTheSameWeights) {
  const Scratch scratch("hybrid-job");
  const Ended whole = run(small(scratch, "whole"));
  const auto bytes = [](const std::filesystem::path& file) {
    const SafetensorsFile read(file);
    std::map<std::string, at::Tensor> all;
    for (const auto& [name, entry] : read.entries()) all[name] = read.tensor(name).clone();
    return all;
  };
  const auto wanted = bytes(whole.outcome.file);
  for (const StopWish wish : {StopWish::save, StopWish::after_checkpoint, StopWish::discard}) {
    RunConfig config = small(scratch, "halted" + std::to_string(static_cast<int>(wish)));
    config.checkpoint_every = 2;
    const Ended halted = run(config, 3, wish);
    EXPECT_TRUE(halted.outcome.result.stopped);
    EXPECT_FALSE(std::filesystem::exists(halted.folder / "checkpoints/hybrid.safetensors"));
    config.resume = true;
    config.run = halted.folder;
    const Ended rest = run(config);
    // discard loses the third step, the others keep it.
    EXPECT_EQ(rest.losses.size(), wish == StopWish::discard ? 4u : 3u);
    for (size_t i = 0; i < rest.losses.size(); ++i)
      EXPECT_EQ(rest.losses[rest.losses.size() - 1 - i], whole.losses[whole.losses.size() - 1 - i]);
    EXPECT_EQ(rest.record.rows(), 6u);
    ASSERT_EQ(rest.outcome.probes.size(), 2u);  // the first was taken before the stop
    EXPECT_EQ(rest.outcome.probes[0].weights, "aligned");
    const auto found = bytes(rest.outcome.file);
    ASSERT_EQ(found.size(), wanted.size());
    for (const auto& [name, value] : wanted) EXPECT_TRUE(at::equal(value, found.at(name))) << name;
  }
}

TEST(HybridJob, GoesOnWithTheEvaluationOfTrainedWeights) {
  const Scratch scratch("hybrid-job");
  RunConfig config = small(scratch, "d");
  run(config);
  config.resume = true;
  config.trials = 3;  // more prompts than were run
  const Ended again = run(config);
  EXPECT_TRUE(again.losses.empty());
  EXPECT_EQ(again.outcome.result.steps, 6);
  EXPECT_TRUE(again.outcome.probes.back().grid.complete());
}

TEST(HybridJob, FinetunesADistilledHybrid) {
  const Scratch scratch("hybrid-job");
  const Ended first = run(small(scratch, "d"));
  RunConfig config = small(scratch, "f", "finetune");
  config.init = "d";
  config.finetune_lr = config.finetune_lr_final = 1e-3;
  const Ended second = run(config);
  EXPECT_EQ(second.record.kind, "finetune");
  EXPECT_EQ(second.record.parent_uuid, first.record.uuid);
  EXPECT_EQ(second.record.steps.loss.at("ce").size(), 6u);
  EXPECT_EQ(second.outcome.probes.front().weights, "init");
  // The start of the second is the end of the first.
  EXPECT_NEAR(second.outcome.result.before->kl_nats, first.outcome.result.after->kl_nats, 1e-9);
  EXPECT_EQ(second.outcome.probes.front().grid.mean_score(),
            first.outcome.probes.back().grid.mean_score());
}

TEST(HybridStart, KnowsPlansRunsAndRefusals) {
  const Scratch scratch("hybrid-job");
  run(small(scratch, "d"));
  RunConfig config = small(scratch, "x");
  config.plan = "d";  // a run: its plan and its branches
  config.aligned.clear();
  const HybridStart start = hybrid_start_of(config, 10);
  EXPECT_EQ(start.plan.plan.to_string(), "10:1-3");
  EXPECT_EQ(start.branches, std::filesystem::path(kBranches));
  config = small(scratch, "x");
  config.plan = "uniform";
  config.budget = 3;
  EXPECT_EQ(hybrid_start_of(config, 10).plan.plan.to_string(), "10:0,3,6");
  const auto refused = [&](auto change, const std::string& named) {
    RunConfig wrong = small(scratch, "x");
    change(wrong);
    try {
      hybrid_start_of(wrong, 10);
      FAIL() << "not refused: " << named;
    } catch (const Error& error) {
      EXPECT_NE((error.message() + error.hint()).find(named), std::string::npos) << error.message();
    }
  };
  refused([](RunConfig& c) { c.plan.clear(); }, "--plan");
  refused([](RunConfig& c) { c.plan = "9:1"; }, "9 layers");
  refused([](RunConfig& c) { c.plan = "nonsense"; }, "nonsense");
  refused([](RunConfig& c) { c.aligned.clear(); }, "--aligned");
  refused([](RunConfig& c) { c.aligned = "nowhere"; }, "nowhere");
  refused([](RunConfig& c) { c.init = "nowhere"; }, "nowhere");
  refused([](RunConfig& c) { c.init = "d", c.plan = "10:1"; }, "10:1-3");
}

TEST(LoadHybrid, RefusesAnotherTeacher) {
  const Scratch scratch("hybrid-job");
  const Ended ended = run(small(scratch, "d"));
  const SafetensorsFile file(ended.outcome.file);
  std::map<std::string, std::string> metadata = file.metadata();
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto& [name, entry] : file.entries())
    tensors.emplace_back(name, file.tensor(name).clone());
  metadata["teacher_weights_sha256"] = std::string(64, '0');
  write_safetensors(scratch / "other.safetensors", tensors, metadata);
  EXPECT_THROW(load_hybrid(demo(), scratch / "other.safetensors"), Error);
  EXPECT_NO_THROW(load_hybrid(demo(), ended.outcome.file));
}

TEST(Preflight, SaysWhatAStartWouldMeetAndWritesNothing) {
  const Scratch scratch("hybrid-job");
  RunConfig config = small(scratch, "d");
  config.measured_steps = 1;
  const TrainForecast forecast = forecast_training(demo(), config, StopFlag(), {});
  EXPECT_TRUE(forecast.starts());
  std::map<std::string, std::string> level;
  for (const ForecastRow& row : forecast.rows) level[row.name] = row.level;
  EXPECT_EQ(level, (std::map<std::string, std::string>{{"plan", "ok"},
                                                       {"teacher", "ok"},
                                                       {"memory", "ok"},
                                                       {"disk", "ok"},
                                                       {"tokens", "ok"},
                                                       {"time", "ok"}}));
  EXPECT_GT(*forecast.tokens_per_s, 0);
  EXPECT_EQ(forecast.choice.micro_batch, 2);
  EXPECT_TRUE(std::filesystem::is_empty(scratch.path()));

  // A text that is too short is read several times, and that is said.
  std::ofstream(scratch / "short.txt")
      << "Once upon a time there was a short text, and that was all.\n";
  config.text = scratch / "short.txt";
  config.measured_steps = 0;
  for (const ForecastRow& row : forecast_training(demo(), config, StopFlag(), {}).rows)
    if (row.name == "tokens") {
      EXPECT_EQ(row.level, "warn");
      EXPECT_NE(row.text.find("times"), std::string::npos);
    }
}

TEST(Preflight, CuresOfAMemoryStopFit) {
  const Scratch scratch("hybrid-job");
  RunConfig config = small(scratch, "d");
  config.distill_length = 1 << 20;  // no machine keeps the activations of 2 million tokens
  config.distill_batch = 1 << 12;
  config.distill_micro_batch = 1 << 12;
  config.measured_steps = 0;
  const TrainForecast forecast = forecast_training(demo(), config, StopFlag(), {});
  EXPECT_FALSE(forecast.starts());
  config.distill_length = 4096;
  const TrainForecast shorter = forecast_training(demo(), config, StopFlag(), {});
  for (const ForecastRow& row : shorter.rows) {
    if (row.name != "memory" || row.level != "stop") continue;
    EXPECT_FALSE(row.cures.empty());
    for (const ForecastCure& cure : row.cures) {
      nlohmann::json json = to_json(config);
      json.update(cure.set);
      RunConfig cured = run_config_of(json, "cure", "distill");
      EXPECT_TRUE(forecast_training(demo(), cured, StopFlag(), {}).starts()) << cure.text;
    }
  }
}

}  // namespace
}  // namespace flashmorph
