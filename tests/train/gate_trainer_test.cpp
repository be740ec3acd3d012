// SPDX-License-Identifier: Apache-2.0
// Gate training end to end on toys: every option once, the closed form, budgets, paths, resuming,
// stopping, broken weights.
#include "core/train/gate_trainer.h"

#include <cmath>
#include <filesystem>
#include <numeric>

#include <gtest/gtest.h>
#include <unistd.h>

#include "core/load/safetensors.h"
#include "core/run/error.h"
#include "core/train/gate_batch.h"
#include "core/train/gate_penalty.h"
#include "tests/support/tiny_model.h"
#include "tests/train/toy_data.h"

namespace flashmorph {
namespace {

TinyShape toy_shape(int64_t layers = 4) {
  TinyShape shape;
  shape.layers = layers;
  shape.vocab = kToyVocab;
  return shape;
}

std::string scratch_file(const std::string& name) {
  return (std::filesystem::path(testing::TempDir()) / (std::to_string(::getpid()) + name)).string();
}

/// Passkeys that never change: one length, one sample, so that every step sees the same loss.
class OneSample : public ToyText {
 public:
  TokenIds take(uint64_t, uint64_t, int64_t tokens) const override {
    return ToyText::take(1, 1, tokens);
  }
};
PasskeyOptions one_key_options() {
  PasskeyOptions options = toy_passkey_options();
  options.words = {"a"};
  options.length_count = 1;
  options.depth_low = options.depth_high = 0.5;
  options.depth_count = 1;
  options.min_length = options.max_length;
  return options;
}

GateResult train(const MorphModel& model, const GateOptions& options, const ToyData& data,
                 std::vector<GateStep>* steps = nullptr) {
  GateTrainer trainer(model, data.passkeys, &data.text, options);
  return trainer.run(
      [&](const GateStep& step) {
        if (steps) steps->push_back(step);
      },
      StopFlag());
}

double mean(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

TEST(GateTrainer, EveryCombinationOfOptionsTakesAStepWithFiniteGradients) {
  const MorphModel model = tiny_morph_model(toy_shape(2));
  const ToyData data;
  int combinations = 0;
  for (const char* constraint : {"clamp", "sigmoid"})
    for (const char* full_source : {"recomputed", "teacher"})
      for (const char* branch_source : {"mixed", "teacher"})
        for (const char* target : {"residual", "mixer", "block", "last"})
          for (const char* norm : {"sum", "mean", "relative"})
            for (const char* tokens : {"answer", "qa", "all"})
              for (const char* supervision : {"passkey", "lm", "ce", "answer"})
                for (const char* penalty : {"0.1", "budget", "path"}) {
                  // The text tells tokens apart for passkey only, norms and targets for alignment
                  // only.
                  const bool align =
                      std::string(supervision) == "passkey" || std::string(supervision) == "lm";
                  if (std::string(supervision) != "passkey" && std::string(tokens) != "answer")
                    continue;
                  if (!align && (std::string(target) != "residual" || std::string(norm) != "sum"))
                    continue;
                  GateOptions options;
                  options.constraint = constraint;
                  options.full_source = full_source;
                  options.branch_source = branch_source;
                  options.target = target;
                  options.norm = norm;
                  options.tokens = tokens;
                  options.supervision = supervision;
                  options.penalty = penalty;
                  options.text_length = 24;
                  options.steps =
                      2;  // at clamped gates of 1 the first step of an alignment loss is free
                  std::vector<GateStep> steps;
                  const GateResult result = train(model, options, data, &steps);
                  ASSERT_EQ(steps.size(), 2u);
                  for (const GateStep& step : steps) {
                    for (const double g : step.gradient) ASSERT_TRUE(std::isfinite(g));
                    ASSERT_TRUE(std::isfinite(step.loss) && std::isfinite(step.penalty));
                    ASSERT_EQ(std::isfinite(step.relative), align);
                  }
                  ASSERT_NE(steps[1].gradient, (std::vector<double>{0, 0}));
                  ASSERT_EQ(result.score.size(), 2u);
                  ASSERT_EQ(result.score_method,
                            std::string(penalty) == "path" ? "path" : "time_average");
                  ++combinations;
                }
  EXPECT_EQ(combinations, 2 * 2 * 2 * 3 * (4 * 3 * 3 + 4 * 3 + 1 + 1));
}

TEST(GateTrainer, DecoupledProblemConvergesToTheClosedForm) {
  const MorphModel model = tiny_morph_model(toy_shape(4));
  const OneSample text;
  const PasskeyData passkeys(toy_tokenizer(), one_key_options(), text, 1);
  GateOptions options;
  options.full_source = options.branch_source = "teacher";
  options.target = "mixer";
  options.steps = 800;
  options.lr_final = 1e-5;
  const GateBatch batch = gate_batch(passkeys, nullptr, options, 0);
  ASSERT_TRUE(at::equal(batch.ids, gate_batch(passkeys, nullptr, options, 9).ids));
  const std::vector<double> c = local_errors(model, options, batch);
  const double lambda = closed_form_penalty(c, 2, 4);
  options.penalty = std::to_string(lambda);
  const std::vector<double> wanted = closed_form_gates(c, std::stod(options.penalty), 4);
  GateTrainer trainer(model, passkeys, nullptr, options);
  const GateResult result = trainer.run({}, StopFlag());
  for (size_t l = 0; l < wanted.size(); ++l) EXPECT_NEAR(result.alpha[l], wanted[l], 1e-3) << l;
  EXPECT_GT(*std::max_element(wanted.begin(), wanted.end()) -
                *std::min_element(wanted.begin(), wanted.end()),
            0.1);
}

TEST(GateTrainer, FirstStepAtOneIsFreeAndExactlyThePenalty) {
  const MorphModel model = tiny_morph_model(toy_shape());
  const ToyData data;
  GateOptions options;
  options.steps = 20;
  GateTrainer trainer(model, data.passkeys, nullptr, options);
  const StopFlag stop;
  GateStep first;
  const GateResult result = trainer.run(
      [&](const GateStep& step) {
        first = step;
        stop.set();
      },
      stop);
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(result.steps, 1);
  EXPECT_EQ(result.forwards, 0);
  EXPECT_EQ(first.loss, 0);
  EXPECT_EQ(first.relative, 0);
  EXPECT_EQ(first.gradient, (std::vector<double>(4, 0.0)));
  for (const double alpha : first.alpha)
    EXPECT_NEAR(alpha, 1 - first.lr, 1e-6);  // Adam's first step is lr long
  EXPECT_EQ(first.tokens, static_cast<int64_t>(data.passkeys.sample(0).ids.size()));
}

TEST(GateTrainer, BudgetPenaltyEndsNearTheBudget) {
  // Alignment only: a random teacher is no better at its answers than its branches, so `answer` has
  // nothing to fit a budget to.
  const MorphModel model = tiny_morph_model(toy_shape(3));
  const ToyData data;
  for (const char* target : {"residual", "last"}) {
    GateOptions options;
    options.target = target;
    options.penalty = "budget";
    options.budget = 1;
    options.steps = 400;
    std::vector<GateStep> steps;
    const GateResult result = train(model, options, data, &steps);
    double late = 0;
    for (size_t i = 320; i < 400; ++i) late += mean(steps[i].alpha) / 80;
    EXPECT_NEAR(late, 1.0 / 3.0, 0.12) << target;
    EXPECT_NE(steps.front().penalty, steps.back().penalty);
    EXPECT_EQ(steps[0].penalty, steps[39].penalty);  // the first tenth keeps lambda_0
    EXPECT_NEAR(mean(result.score), late, 1e-9);
  }
}

TEST(GateTrainer, PathOrdersLayersByTheirError) {
  // On the decoupled problem a gate falls below 0.5 at lambda = c_l / L, so the path must rank
  // layers by c.
  const MorphModel model = tiny_morph_model(toy_shape(4));
  const OneSample text;
  const PasskeyData passkeys(toy_tokenizer(), one_key_options(), text, 1);
  GateOptions options;
  options.full_source = options.branch_source = "teacher";
  options.target = "mixer";
  options.penalty = "path";
  options.steps = 1200;
  const std::vector<double> c =
      local_errors(model, options, gate_batch(passkeys, nullptr, options, 0));
  GateTrainer trainer(model, passkeys, nullptr, options);
  const GateResult result = trainer.run({}, StopFlag());
  EXPECT_EQ(result.score_method, "path");
  const auto order = [](const std::vector<double>& x) {
    std::vector<size_t> index(x.size());
    std::iota(index.begin(), index.end(), 0);
    std::sort(index.begin(), index.end(), [&](size_t a, size_t b) { return x[a] > x[b]; });
    return index;
  };
  EXPECT_EQ(order(result.score), order(c));
  for (size_t l = 0; l < c.size(); ++l)
    EXPECT_NEAR(result.score[l], std::log10(c[l] / 4), 0.15) << l;
}

TEST(GateTrainer, SigmoidStartsAtLogitFour) {
  const MorphModel model = tiny_morph_model(toy_shape());
  const ToyData data;
  GateOptions options;
  options.constraint = "sigmoid";
  options.steps = 3;
  options.lr = options.lr_final = 1e-9;
  std::vector<GateStep> steps;
  train(model, options, data, &steps);
  for (const double raw : steps[0].raw) EXPECT_NEAR(raw, 4, 1e-6);
  for (const double alpha : steps[0].alpha) EXPECT_NEAR(alpha, 1 / (1 + std::exp(-4.0)), 1e-6);
  EXPECT_GT(steps[0].loss, 0);
}

TEST(GateTrainer, ResumeReachesTheSameGatesBitForBit) {
  const MorphModel model = tiny_morph_model(toy_shape());
  const ToyData data;
  const std::string path = scratch_file("gates.safetensors");
  for (const char* penalty : {"0.1", "budget", "path"})
    for (const char* constraint : {"clamp", "sigmoid"}) {
      GateOptions options;
      options.penalty = penalty;
      options.constraint = constraint;
      options.steps = 40;
      std::vector<GateStep> whole, parts;
      const GateResult wanted = train(model, options, data, &whole);
      {
        GateTrainer first(model, data.passkeys, nullptr, options);
        const StopFlag stop;
        const GateResult half = first.run(
            [&](const GateStep& step) {
              parts.push_back(step);
              if (step.step == 17) stop.set();
            },
            stop);
        EXPECT_TRUE(half.stopped);
        first.save(path);
      }
      GateTrainer second(model, data.passkeys, nullptr, options);
      second.resume(path);
      const GateResult found =
          second.run([&](const GateStep& step) { parts.push_back(step); }, StopFlag());
      EXPECT_EQ(found.alpha, wanted.alpha);
      EXPECT_EQ(found.final_raw, wanted.final_raw);
      EXPECT_EQ(found.score, wanted.score);
      EXPECT_EQ(found.tokens, wanted.tokens);
      EXPECT_EQ(found.forwards, wanted.forwards);
      ASSERT_EQ(parts.size(), whole.size());
      for (size_t i = 0; i < parts.size(); ++i) {
        EXPECT_EQ(parts[i].alpha, whole[i].alpha) << i;
        EXPECT_EQ(parts[i].loss, whole[i].loss) << i;
        EXPECT_EQ(parts[i].penalty, whole[i].penalty) << i;
        EXPECT_EQ(parts[i].notice, whole[i].notice) << i;
      }
      GateOptions other = options;
      other.lr = 1e-2;
      GateTrainer third(model, data.passkeys, nullptr, other);
      EXPECT_THROW(third.resume(path), Error);
    }
  write_safetensors(path, {{"parameter", at::zeros({4})}}, {});
  GateTrainer trainer(model, data.passkeys, nullptr, {});
  EXPECT_THROW(trainer.resume(path), Error);
  std::filesystem::remove(path);
}

TEST(GateTrainer, StopsWithinAStepAndGoesOn) {
  const MorphModel model = tiny_morph_model(toy_shape());
  const ToyData data;
  GateOptions options;
  options.steps = 12;
  const GateResult wanted = train(model, options, data);
  GateTrainer trainer(model, data.passkeys, nullptr, options);
  StopFlag stop;
  stop.set();
  EXPECT_EQ(trainer.run({}, stop).steps, 0);
  int64_t seen = 0;
  const StopFlag later;
  EXPECT_TRUE(trainer
                  .run(
                      [&](const GateStep& step) {
                        if ((seen = step.step) == 5) later.set();
                      },
                      later)
                  .stopped);
  EXPECT_EQ(seen, 5);
  const GateResult result = trainer.run({}, StopFlag());
  EXPECT_FALSE(result.stopped);
  EXPECT_EQ(result.alpha, wanted.alpha);
}

TEST(GateTrainer, NamesStepAndLayerOfABrokenWeight) {
  const ToyData data;
  for (const char* supervision : {"passkey", "answer"})
    for (const char* constraint : {"clamp", "sigmoid"})
      for (const char* where : {"o_proj.weight", "q_proj.weight"}) {
        MorphModel model = tiny_morph_model(toy_shape());
        at::Tensor weight = model.branch(2).parameter(where).clone();
        weight[0][0] = std::nan("");
        model.branch(2).load(where, weight);
        GateOptions options;
        options.supervision = supervision;
        options.constraint = constraint;
        options.steps = 5;
        // Only an alignment loss at gates of exactly 1 does without the branch, in its first step.
        const bool free_step =
            std::string(supervision) == "passkey" && std::string(constraint) == "clamp";
        GateTrainer trainer(model, data.passkeys, nullptr, options);
        GateStep last;
        try {
          trainer.run([&](const GateStep& step) { last = step; }, StopFlag());
          FAIL() << "the poison went unseen";
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::non_finite);
          EXPECT_NE(error.message().find(free_step ? "step 2: layer 2" : "step 1: layer 2"),
                    std::string::npos)
              << error.message();
        }
        EXPECT_EQ(last.step, free_step ? 1 : 0);
        for (const double alpha : trainer
                                      .run({},
                                           [] {
                                             StopFlag set;
                                             set.set();
                                             return set;
                                           }())
                                      .alpha)
          EXPECT_TRUE(std::isfinite(alpha));  // the gates before that step are kept
      }
}

TEST(GateTrainer, RefusesWhatCannotBe) {
  const MorphModel model = tiny_morph_model(toy_shape());
  const ToyData data;
  const auto refused = [&](auto change, const TextSource* text) {
    GateOptions options;
    change(options);
    EXPECT_THROW(GateTrainer(model, data.passkeys, text, options), Error);
  };
  refused([](GateOptions& o) { o.budget = 5; }, nullptr);
  refused([](GateOptions& o) { o.supervision = "lm"; }, nullptr);
  refused([](GateOptions& o) { o.penalty = "much"; }, nullptr);
  refused([](GateOptions& o) { o.norm = "max"; }, nullptr);
}

}  // namespace
}  // namespace flashmorph
