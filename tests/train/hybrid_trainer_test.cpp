// SPDX-License-Identifier: Apache-2.0
// Distill and finetune on toys: one step by hand, falling losses, resuming, stopping, broken
// weights, what stays untouched.
#include "core/train/hybrid_trainer.h"

#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <unistd.h>

#include "core/load/safetensors.h"
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

HybridModel toy_hybrid(TrainPart part = TrainPart::all, BranchKind kind = BranchKind::lightning,
                       at::ScalarType dtype = at::kFloat, const std::vector<int>& full = {1}) {
  return {tiny_teacher(toy_shape(), 1, dtype), tiny_morph_model(toy_shape(), 1, kind, dtype),
          LayerPlan::of(3, full), part};
}

TrainOptions toy_options(TrainStage stage = TrainStage::distill) {
  TrainOptions options = TrainOptions::of(stage);
  options.steps = 10;
  options.batch = 4;
  options.length = 24;
  options.lr = 3e-3;
  options.lr_final = 3e-4;
  options.held_out_tokens = 96;
  return options;
}

std::vector<at::Tensor> values(const HybridModel& hybrid) {
  std::vector<at::Tensor> all;
  for (const HybridTensor& one : hybrid.tensors()) all.push_back(one.value.detach().clone());
  return all;
}

bool equal(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!at::equal(a[i], b[i])) return false;
  return true;
}

std::vector<TrainStep> train(HybridModel& hybrid, const TrainOptions& options,
                             TrainResult* result = nullptr) {
  const ToyText text;
  std::vector<TrainStep> steps;
  HybridTrainer trainer(hybrid, text, options);
  const TrainResult end = trainer.run([&](const TrainStep& step) { steps.push_back(step); });
  if (result) *result = end;
  return steps;
}

std::string scratch_file() {
  return (std::filesystem::path(testing::TempDir()) /
          (std::to_string(::getpid()) + "train.safetensors"))
      .string();
}

at::Tensor batch_of(const TrainOptions& options, int64_t step) {
  const ToyText text;
  std::vector<at::Tensor> rows;
  for (int64_t i = 0; i < options.batch; ++i) {
    const TokenIds ids =
        text.take(options.seed, static_cast<uint64_t>(step * options.batch + i), options.length);
    rows.push_back(at::tensor(at::ArrayRef<int64_t>(ids), at::kLong));
  }
  return at::stack(rows);
}

// Two steps in the plainest way: all logits, one graph, AdamW written out.
TEST(HybridTrainer, StepsEqualThePlainForm) {
  for (const TrainStage stage : {TrainStage::distill, TrainStage::finetune}) {
    TrainOptions options = toy_options(stage);
    options.steps = 2;
    options.micro_batch = 3;
    options.clip = 0.05;
    options.weight_decay = 0.1;
    options.warmup = 0;
    options.rest_scale = 0.5;
    HybridModel plain = toy_hybrid(TrainPart::all, BranchKind::lightning, at::kDouble),
                model = toy_hybrid(TrainPart::all, BranchKind::lightning, at::kDouble);
    plain.set_requires_grad(true);
    std::vector<at::Tensor> leaves, first, second;
    for (const HybridTensor& one : plain.tensors()) {
      leaves.push_back(one.value);
      first.push_back(at::zeros_like(one.value));
      second.push_back(at::zeros_like(one.value));
    }
    std::vector<double> losses, norms;
    for (int64_t s = 0; s < 2; ++s) {
      const at::Tensor ids = batch_of(options, s);
      const at::Tensor log_q = at::log_softmax(plain.logits(ids), -1);
      at::Tensor loss;
      if (stage == TrainStage::distill) {
        const Teacher& teacher = plain.teacher();
        const at::Tensor log_p = at::log_softmax(
            teacher.logits(tiny_morph_model(toy_shape(), 1, BranchKind::lightning, at::kDouble)
                               .states(ids, LayerPlan::all_full(3))),
            -1);
        loss = (log_p.exp() * (log_p - log_q)).sum(-1).mean();
      } else {
        loss = -log_q.narrow(1, 0, options.length - 1)
                    .gather(-1, ids.narrow(1, 1, options.length - 1).unsqueeze(-1))
                    .mean();
      }
      losses.push_back(loss.item<double>());
      const auto gradients = torch::autograd::grad({loss}, leaves);
      double square = 0;
      for (const at::Tensor& g : gradients) square += g.square().sum().item<double>();
      norms.push_back(std::sqrt(square));
      const double shrink = std::min(1.0, options.clip / std::sqrt(square)),
                   t = static_cast<double>(s + 1);
      const at::NoGradGuard no_grad;
      for (size_t i = 0; i < leaves.size(); ++i) {
        const bool mixer = plain.tensors()[i].name.find("_attn.") != std::string::npos;
        const double rate =
            cosine_rate(s, 2, 0, options.lr, options.lr_final) * (mixer ? 1.0 : 0.5);
        const at::Tensor g = gradients[i] * shrink;
        first[i] = 0.9 * first[i] + 0.1 * g;
        second[i] = 0.95 * second[i] + 0.05 * g * g;
        leaves[i].mul_(1 - rate * options.weight_decay);
        leaves[i].sub_(rate * (first[i] / (1 - std::pow(0.9, t))) /
                       ((second[i] / (1 - std::pow(0.95, t))).sqrt() + 1e-8));
      }
    }
    const std::vector<TrainStep> steps = train(model, options);
    for (size_t s = 0; s < 2; ++s) {
      EXPECT_NEAR(steps[s].loss, losses[s], 1e-6 * losses[s]) << to_string(stage);
      EXPECT_NEAR(steps[s].grad_norm, norms[s], 1e-6 * norms[s]);
      EXPECT_EQ(steps[s].tokens, static_cast<int64_t>(s + 1) * 96);
    }
    // Where a gradient is nearly zero Adam's first steps see its sign alone, hence not more digits;
    // measured 2e-8 at most.
    const auto found = values(model), wanted = values(plain);
    for (size_t i = 0; i < found.size(); ++i)
      EXPECT_LT((found[i] - wanted[i]).abs().max().item<double>(), 1e-6) << plain.tensors()[i].name;
  }
}

TEST(HybridTrainer, LowersItsLoss) {
  for (const auto& [stage, kind, dtype] :
       {std::tuple{TrainStage::distill, BranchKind::lightning, at::kFloat},
        std::tuple{TrainStage::distill, BranchKind::gdn, at::kFloat},
        std::tuple{TrainStage::distill, BranchKind::lightning, at::kBFloat16},
        std::tuple{TrainStage::finetune, BranchKind::lightning, at::kFloat}}) {
    HybridModel hybrid = toy_hybrid(TrainPart::all, kind, dtype);
    TrainOptions options = toy_options(stage);
    options.steps = 60;
    options.held_out_every = 25;
    TrainResult result;
    const auto steps = train(hybrid, options, &result);
    ASSERT_TRUE(result.before && result.after);
    if (stage == TrainStage::distill) {
      EXPECT_LT(result.after->kl_nats, 0.7 * result.before->kl_nats);
      EXPECT_LT(steps.back().loss, 0.7 * steps.front().loss);
    } else {
      EXPECT_LT(result.after->nll_nats, result.before->nll_nats - 0.3);
    }
    EXPECT_EQ(result.tokens, 60 * 4 * 24);
    for (const TrainStep& step : steps) EXPECT_EQ(step.held_out.has_value(), step.step % 25 == 0);
    for (const HybridTensor& one : hybrid.tensors()) {
      EXPECT_EQ(one.value.scalar_type(), at::kFloat);
      EXPECT_FALSE(one.value.requires_grad());
    }
  }
}

TEST(HybridTrainer, AllFullEqualsTheTeacherAndStays) {
  HybridModel hybrid = toy_hybrid(TrainPart::all, BranchKind::lightning, at::kFloat, {0, 1, 2});
  TrainOptions options = toy_options();
  options.steps = 2;
  const auto before = values(hybrid);
  TrainResult result;
  const auto steps = train(hybrid, options, &result);
  EXPECT_EQ(steps[0].loss, 0);
  EXPECT_EQ(result.before->kl_nats, 0);
  EXPECT_TRUE(equal(values(hybrid), before));
}

TEST(HybridTrainer, MicroBatchesAndCheckpointingGiveTheSameStep) {
  TrainOptions options = toy_options();
  options.steps = 1;
  HybridModel a = toy_hybrid(), b = toy_hybrid(), c = toy_hybrid();
  const auto whole = train(a, options);
  options.checkpointing = true;
  EXPECT_EQ(train(b, options)[0].loss, whole[0].loss);
  EXPECT_TRUE(equal(values(a), values(b)));
  options.micro_batch = 3;  // 3 + 1
  const auto parts = train(c, options);
  EXPECT_NEAR(parts[0].loss, whole[0].loss, 1e-5 * whole[0].loss);
  EXPECT_NEAR(parts[0].grad_norm, whole[0].grad_norm, 1e-4 * whole[0].grad_norm);
}

TEST(HybridTrainer, AttentionAloneLeavesTheRestUntouched) {
  HybridModel hybrid = toy_hybrid(TrainPart::attention);
  const auto before = values(hybrid);
  const std::map<std::string, at::Tensor> theirs = hybrid.teacher().tensors();
  std::map<std::string, at::Tensor> kept;
  for (const auto& [name, value] : theirs) kept[name] = value.clone();
  train(hybrid, toy_options());
  for (size_t i = 0; i < before.size(); ++i) {
    const HybridTensor& one = hybrid.tensors()[i];
    const bool mixer = one.name.find("_attn.") != std::string::npos;
    EXPECT_EQ(at::equal(one.value, before[i]), !mixer) << one.name;
    if (!mixer) {
      EXPECT_TRUE(one.value.is_alias_of(theirs.at(one.name))) << one.name;
    }
  }
  for (const auto& [name, value] : theirs) EXPECT_TRUE(at::equal(value, kept.at(name))) << name;
}

TEST(HybridTrainer, ResumeGivesTheSameLossesBitForBit) {
  const ToyText text;
  const std::string path = scratch_file();
  for (const TrainStage stage : {TrainStage::distill, TrainStage::finetune}) {
    TrainOptions options = toy_options(stage);
    options.micro_batch = 2;
    HybridModel whole = toy_hybrid(), first = toy_hybrid(), second = toy_hybrid();
    TrainResult end;
    const std::vector<TrainStep> wanted = train(whole, options, &end);
    std::vector<TrainStep> found;
    {
      HybridTrainer trainer(first, text, options, "teacher one");
      EXPECT_TRUE(trainer
                      .run([&](const TrainStep& step) {
                        found.push_back(step);
                        if (step.step == 4) throw Error("distill", ErrorCode::stopped, "stopped");
                      })
                      .stopped);
      trainer.save(path);
      EXPECT_EQ(HybridTrainer::micro_batch_of(path), 2);
    }
    TrainOptions same = options;
    same.checkpointing = true;  // another way to the same numbers
    HybridTrainer trainer(second, text, same, "teacher one");
    trainer.resume(path);
    EXPECT_TRUE(equal(values(first), values(second)));
    const TrainResult result = trainer.run([&](const TrainStep& step) { found.push_back(step); });
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].loss, wanted[i].loss) << i;
    EXPECT_TRUE(equal(values(second), values(whole)));
    EXPECT_EQ(result.after->kl_nats, end.after->kl_nats);
    EXPECT_EQ(result.before->nll_nats, end.before->nll_nats);
    std::filesystem::remove(path);
  }
}

TEST(HybridTrainer, RefusesACheckpointOfAnotherRun) {
  const ToyText text;
  const std::string path = scratch_file();
  HybridModel hybrid = toy_hybrid();
  HybridTrainer(hybrid, text, toy_options(), "teacher one").save(path);
  const auto refused = [&](HybridModel& other, const TrainOptions& options,
                           const std::string& teacher, const std::string& named) {
    HybridTrainer trainer(other, text, options, teacher);
    const auto before = values(other);
    try {
      trainer.resume(path);
      FAIL() << "resumed in spite of another " << named;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_file);
      EXPECT_NE(error.message().find(named), std::string::npos) << error.message();
    }
    EXPECT_TRUE(equal(values(other), before));
  };
  refused(hybrid, toy_options(), "teacher two", "teacher");
  TrainOptions slower = toy_options();
  slower.lr = 1e-3;
  refused(hybrid, slower, "teacher one", "lr");
  refused(hybrid, toy_options(TrainStage::finetune), "teacher one", "another");
  HybridModel other_plan = toy_hybrid(TrainPart::all, BranchKind::lightning, at::kFloat, {0});
  refused(other_plan, toy_options(), "teacher one", "plan");
  HybridModel other_kind = toy_hybrid(TrainPart::all, BranchKind::gdn);
  refused(other_kind, toy_options(), "teacher one", "branches");
  // A file cut short in the middle.
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  HybridTrainer trainer(hybrid, text, toy_options(), "teacher one");
  EXPECT_THROW(trainer.resume(path), Error);
  std::filesystem::remove(path);
}

TEST(HybridTrainer, AStopUndoesThePartialStep) {
  const ToyText text;
  TrainOptions options = toy_options();
  options.micro_batch = 1;
  HybridModel whole = toy_hybrid(), model = toy_hybrid();
  train(whole, options);
  HybridTrainer trainer(model, text, options);
  int asked = 0;
  bool halting = true;
  const StopCheck check = [&] {
    if (halting && ++asked % 150 == 0)
      throw Error("distill", ErrorCode::stopped, "stopped");  // somewhere in a step
  };
  int stops = 0;
  while (stops < 3) {
    const auto before = values(model);
    const int64_t step = trainer.step();
    const TrainResult result = trainer.run({}, check);
    ASSERT_TRUE(result.stopped);
    if (trainer.step() == step) {
      EXPECT_TRUE(equal(values(model), before));
    }
    ++stops;
  }
  halting = false;
  EXPECT_FALSE(trainer.run({}, check).stopped);
  EXPECT_TRUE(equal(values(model), values(whole)));
}

TEST(HybridTrainer, NamesTheStepThatIsNotFiniteAndKeepsTheWeights) {
  const ToyText text;
  HybridModel hybrid = toy_hybrid();
  HybridTrainer trainer(hybrid, text, toy_options());
  trainer.run([&](const TrainStep& step) {
    if (step.step == 3) throw Error("distill", ErrorCode::stopped, "stopped");
  });
  const at::Tensor down = hybrid.tensor("model.layers.1.mlp.down_proj.weight");
  {
    const at::NoGradGuard no_grad;
    down.detach()[0][0] = std::nan("");
  }
  const auto before = values(hybrid);
  try {
    trainer.run({});
    FAIL() << "the poison went unseen";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::non_finite);
    EXPECT_NE(error.message().find("step 4"), std::string::npos) << error.message();
  }
  const auto after = values(hybrid);
  for (size_t i = 0; i < after.size(); ++i)
    EXPECT_TRUE(at::allclose(after[i], before[i], 0, 0, /*equal_nan=*/true))
        << hybrid.tensors()[i].name;
}

TEST(TrainOptionsCheck, NamesTheOption) {
  const auto refused = [](auto change) {
    TrainOptions options;
    change(options);
    EXPECT_THROW(options.check(), Error);
  };
  EXPECT_NO_THROW(TrainOptions().check());
  EXPECT_NO_THROW(TrainOptions::of(TrainStage::finetune).check());
  refused([](TrainOptions& o) { o.steps = 0; });
  refused([](TrainOptions& o) { o.length = 1; });
  refused([](TrainOptions& o) { o.micro_batch = 97; });
  refused([](TrainOptions& o) { o.lr = 0; });
  refused([](TrainOptions& o) { o.lr_final = 1; });
  refused([](TrainOptions& o) { o.rest_scale = -1; });
  refused([](TrainOptions& o) { o.beta2 = 1; });
  refused([](TrainOptions& o) { o.held_out_every = -1; });
}

}  // namespace
}  // namespace flashmorph
