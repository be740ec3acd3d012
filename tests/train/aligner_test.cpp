// SPDX-License-Identifier: Apache-2.0
// Align on toys: gradients against one summed loss, less error, scale fit, resuming, stopping,
// broken weights.
#include "core/train/aligner.h"

#include <cmath>
#include <filesystem>
#include <numeric>

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <unistd.h>

#include "core/run/error.h"
#include "core/train/optim.h"
#include "tests/support/tiny_model.h"
#include "tests/train/toy_data.h"

namespace flashmorph {
namespace {

TinyShape toy_shape() {
  TinyShape shape;
  shape.layers = 3;
  shape.vocab = kToyVocab;
  return shape;
}

AlignOptions toy_options() {
  AlignOptions options;
  options.steps = 12;
  options.batch = 4;
  options.length = 32;
  options.fit_tokens = 128;
  options.held_out_tokens = 256;
  options.lr = 3e-3;
  return options;
}

double mean(const std::vector<double>& x) {
  return std::accumulate(x.begin(), x.end(), 0.0) / static_cast<double>(x.size());
}

std::vector<at::Tensor> values(const MorphModel& model) {
  std::vector<at::Tensor> all;
  for (const auto& [name, value] : model.branch_parameters()) all.push_back(value.detach().clone());
  return all;
}

bool equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!at::equal(a[i], b[i])) return false;
  return true;
}

AlignResult align(MorphModel& model, const AlignOptions& options,
                  std::vector<AlignStep>* steps = nullptr) {
  const ToyText text;
  Aligner aligner(model, text, options);
  return aligner.run(
      [&](const AlignStep& step) {
        if (steps) steps->push_back(step);
      },
      StopFlag());
}

// The same step in the plainest way: all losses added up, one backward, AdamW by formula.
TEST(Aligner, OneStepEqualsThePlainForm) {
  for (const char* loss : {"mse", "sum", "l2norm"}) {
    AlignOptions options = toy_options();
    options.steps = 1;
    options.loss = loss;
    options.fit_tokens = 0;
    options.clip = 0.5;
    MorphModel plain = tiny_morph_model(toy_shape()), model = tiny_morph_model(toy_shape());
    std::vector<at::Tensor> parameters;
    for (int l = 0; l < plain.layers(); ++l) {
      plain.branch(l).set_requires_grad(true);
      for (const auto& [name, value] : plain.branch(l).parameters()) parameters.push_back(value);
    }
    const ToyText text;
    std::vector<at::Tensor> rows;
    for (uint64_t i = 0; i < 4; ++i) {
      const TokenIds ids = text.take(options.seed, i, options.length);
      rows.push_back(at::tensor(at::ArrayRef<int64_t>(ids), at::kLong));
    }
    const Teacher& teacher = plain.teacher();
    const RopeTable rope = teacher.rope_table(0, options.length);
    at::Tensor x = teacher.embed(at::stack(rows)), total = at::zeros({});
    for (int l = 0; l < plain.layers(); ++l) {
      const at::Tensor u = teacher.input_norm(l, x), full = teacher.attention(l, u, rope);
      const at::Tensor difference = plain.branch(l).forward(u, rope) - full;
      const double D = static_cast<double>(x.size(-1));
      total = total + (std::string(loss) == "l2norm"
                           ? difference.norm(2, {-1}).mean() / std::sqrt(D)
                           : difference.square().mean() * (std::string(loss) == "sum" ? D : 1.0));
      x = x + full;
      x = x + teacher.mlp(l, x);
    }
    total = total / static_cast<double>(plain.layers());
    std::vector<at::Tensor> gradients = torch::autograd::grad({total}, parameters);
    double square = 0;
    for (const at::Tensor& g : gradients) square += g.square().sum().item<double>();
    scale_gradients(gradients, std::sqrt(square), options.clip);
    AdamW(parameters, {options.beta1, options.beta2, 1e-8, 0}).step(gradients, options.lr);

    std::vector<AlignStep> steps;
    align(model, options, &steps);
    ASSERT_EQ(steps.size(), 1u);
    EXPECT_NEAR(steps[0].loss, total.item<double>(), 1e-5 * total.item<double>()) << loss;
    EXPECT_NEAR(steps[0].grad_norm, std::sqrt(square), 1e-4 * std::sqrt(square)) << loss;
    EXPECT_NEAR(mean(steps[0].layer_loss), steps[0].loss, 1e-9);
    const auto found = values(model), wanted = values(plain);
    // Adam's first step is lr times the sign of the gradient, so gradients near zero may flip:
    // compare the bulk.
    double different = 0, count = 0;
    for (size_t i = 0; i < found.size(); ++i) {
      different += (found[i] - wanted[i]).abs().gt(1e-4).sum().item<double>();
      count += static_cast<double>(found[i].numel());
    }
    EXPECT_LT(different, 2e-3 * count) << loss;
  }
}

TEST(Aligner, MicroBatchesAddUpToTheWholeBatch) {
  AlignOptions options = toy_options();
  options.steps = 1;
  std::vector<AlignStep> whole, parts;
  MorphModel a = tiny_morph_model(toy_shape()), b = tiny_morph_model(toy_shape());
  align(a, options, &whole);
  options.micro_batch = 3;  // 3 + 1
  align(b, options, &parts);
  EXPECT_NEAR(parts[0].loss, whole[0].loss, 1e-5 * whole[0].loss);
  EXPECT_NEAR(parts[0].grad_norm, whole[0].grad_norm, 1e-4 * whole[0].grad_norm);
}

TEST(Aligner, LowersTheHeldOutErrorOfEveryKind) {
  for (const BranchKind kind : {BranchKind::lightning, BranchKind::gdn, BranchKind::gla}) {
    MorphModel model = tiny_morph_model(toy_shape(), 1, kind);
    AlignOptions options = toy_options();
    options.steps = 60;
    options.held_out_every = 25;
    std::vector<AlignStep> steps;
    const AlignResult result = align(model, options, &steps);
    ASSERT_EQ(result.error.size(), 3u);
    EXPECT_LT(mean(result.error), 0.9 * mean(result.error_before)) << to_string(kind);
    EXPECT_EQ(result.tokens, 60 * 4 * 32);
    for (const AlignStep& step : steps)
      EXPECT_EQ(step.held_out.size(), step.step % 25 == 0 ? 3u : 0u);
    EXPECT_FALSE(model.branch(0).parameters()[0].second.requires_grad());
  }
}

TEST(Aligner, ComputesInBfloat16WithFloat32Masters) {
  MorphModel model = tiny_morph_model(toy_shape(), 1, BranchKind::lightning, at::kBFloat16);
  AlignOptions options = toy_options();
  options.steps = 60;
  const AlignResult result = align(model, options);
  EXPECT_LT(mean(result.error), 0.9 * mean(result.error_before));
  for (const at::Tensor& one : values(model)) EXPECT_EQ(one.scalar_type(), at::kFloat);
}

TEST(Aligner, FitsTheOutputScaleBeforeTheFirstStep) {
  // A branch that is right but for a factor is right after the fit; no step is needed.
  const ToyText text;
  MorphModel model = tiny_morph_model(toy_shape());
  const std::vector<double> before = [&] {
    AlignOptions options = toy_options();
    options.fit_tokens = 0;
    return Aligner(model, text, options).held_out_error();
  }();
  for (int l = 0; l < model.layers(); ++l) model.branch(l).scale_output(7);
  AlignOptions options = toy_options();
  options.steps = 1;
  options.lr = options.lr_final = 1e-12;
  options.fit_tokens = 4096;
  const AlignResult result = align(model, options);
  for (size_t l = 0; l < before.size(); ++l)
    EXPECT_LT(result.error_before[l], std::min(1.05, 1.02 * before[l])) << l;
}

TEST(Aligner, ResumeGivesTheSameLossesBitForBit) {
  const ToyText text;
  const std::string path = (std::filesystem::path(testing::TempDir()) /
                            (std::to_string(::getpid()) + "align.safetensors"))
                               .string();
  AlignOptions options = toy_options();
  options.micro_batch = 2;
  MorphModel whole = tiny_morph_model(toy_shape()), first = tiny_morph_model(toy_shape()),
             second = tiny_morph_model(toy_shape(), 1);
  std::vector<AlignStep> wanted, found;
  const AlignResult end = align(whole, options, &wanted);
  {
    Aligner aligner(first, text, options);
    const StopFlag stop;
    EXPECT_TRUE(aligner
                    .run(
                        [&](const AlignStep& step) {
                          found.push_back(step);
                          if (step.step == 5) stop.set();
                        },
                        stop)
                    .stopped);
    aligner.save(path);
  }
  Aligner aligner(second, text, options);
  aligner.resume(path);
  EXPECT_TRUE(equal(values(first), values(second)));
  const AlignResult result =
      aligner.run([&](const AlignStep& step) { found.push_back(step); }, StopFlag());
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].loss, wanted[i].loss) << i;
  EXPECT_TRUE(equal(values(second), values(whole)));
  EXPECT_EQ(result.error, end.error);
  EXPECT_EQ(result.error_before, end.error_before);

  AlignOptions other = options;
  other.lr = 1e-4;
  EXPECT_THROW(Aligner(second, text, other).resume(path), Error);
  MorphModel gdn = tiny_morph_model(toy_shape(), 1, BranchKind::gdn);
  EXPECT_THROW(Aligner(gdn, text, options).resume(path), Error);
  std::filesystem::remove(path);
}

TEST(Aligner, NamesStepAndLayerOfABrokenWeightAndKeepsTheRest) {
  MorphModel model = tiny_morph_model(toy_shape());
  at::Tensor weight = model.branch(1).parameter("v_proj.weight").clone();
  weight[3][2] = std::nan("");
  model.branch(1).load("v_proj.weight", weight);
  AlignOptions options = toy_options();
  options.fit_tokens = 0;
  const auto before = values(model);
  try {
    align(model, options);
    FAIL() << "the poison went unseen";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::non_finite);
    EXPECT_NE(error.message().find("step 1: layer 1"), std::string::npos) << error.message();
  }
  EXPECT_TRUE(at::equal(values(model)[0], before[0]));
}

TEST(Aligner, StopsBetweenLayersAndGoesOn) {
  const ToyText text;
  AlignOptions options = toy_options();
  MorphModel whole = tiny_morph_model(toy_shape()), model = tiny_morph_model(toy_shape());
  align(whole, options);
  Aligner aligner(model, text, options);
  const StopFlag set;
  set.set();
  EXPECT_EQ(aligner.run({}, set).steps, 0);
  const StopFlag later;
  EXPECT_EQ(aligner
                .run(
                    [&](const AlignStep& step) {
                      if (step.step == 3) later.set();
                    },
                    later)
                .steps,
            3);
  EXPECT_FALSE(aligner.run({}, StopFlag()).stopped);
  EXPECT_TRUE(equal(values(model), values(whole)));
}

TEST(AlignOptionsCheck, NamesTheOption) {
  const auto refused = [](auto change) {
    AlignOptions options;
    change(options);
    EXPECT_THROW(options.check(), Error);
  };
  EXPECT_NO_THROW(AlignOptions().check());
  refused([](AlignOptions& o) { o.steps = 0; });
  refused([](AlignOptions& o) { o.loss = "mae"; });
  refused([](AlignOptions& o) { o.micro_batch = 33; });
  refused([](AlignOptions& o) { o.lr = 0; });
  refused([](AlignOptions& o) { o.beta2 = 1; });
  refused([](AlignOptions& o) { o.fit_tokens = -1; });
}

}  // namespace
}  // namespace flashmorph
