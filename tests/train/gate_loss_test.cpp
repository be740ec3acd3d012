// SPDX-License-Identifier: Apache-2.0
// The gate loss: exact ends, gradients against central differences for every source, target and
// norm, cross-entropy.
#include "core/train/gate_loss.h"

#include <cmath>

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/run/error.h"
#include "core/train/gate_batch.h"
#include "core/train/mixed_stream.h"
#include "core/train/row_cross_entropy.h"
#include "kernels/gate_mix.h"
#include "tests/support/tiny_model.h"
#include "tests/train/toy_data.h"

namespace flashmorph {
namespace {

GateBatch toy_batch(int64_t B = 2, int64_t T = 24, bool labels = false) {
  GateBatch batch;
  batch.ids = tiny_ids(B, T);
  batch.rows = at::arange(B, at::kLong).repeat_interleave(4);
  batch.columns = at::tensor({T - 9, T - 6, T - 4, T - 2}, at::kLong).repeat({B});
  batch.tokens = B * T;
  if (labels) batch.labels = batch.ids.index({batch.rows, batch.columns + 1});
  return batch;
}

at::Tensor some_gates(int64_t layers) { return at::linspace(0.25, 0.85, layers, at::kFloat); }

at::Tensor gradient_at(const MorphModel& model, const GateOptions& options, const GateBatch& batch,
                       const at::Tensor& alpha) {
  const at::Tensor leaf = alpha.clone().requires_grad_(true);
  return torch::autograd::grad({gate_loss(model, options, batch, leaf)}, {leaf})[0];
}

// Central differences of fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h.
at::Tensor central_differences(const MorphModel& model, const GateOptions& options,
                               const GateBatch& batch, const at::Tensor& alpha, double h = 2e-3) {
  const at::NoGradGuard no_grad;
  at::Tensor found = at::empty_like(alpha);
  for (int64_t l = 0; l < alpha.numel(); ++l) {
    const auto moved = [&](double by) {
      at::Tensor gates = alpha.clone();
      gates[l] += by;
      return gate_loss(model, options, batch, gates).item<double>();
    };
    found[l] = (8 * (moved(h) - moved(-h)) - (moved(2 * h) - moved(-2 * h))) / (12 * h);
  }
  return found;
}

double relative_error(const at::Tensor& found, const at::Tensor& wanted) {
  return ((found - wanted).norm() / wanted.norm()).item<double>();
}

class GateGradient : public testing::TestWithParam<
                         std::tuple<const char*, const char*, const char*, const char*>> {};

TEST_P(GateGradient, EqualsCentralDifferences) {
  GateOptions options;
  options.full_source = std::get<0>(GetParam());
  options.branch_source = std::get<1>(GetParam());
  options.target = std::get<2>(GetParam());
  options.norm = std::get<3>(GetParam());
  const MorphModel model = tiny_morph_model();
  const GateBatch batch = toy_batch();
  const at::Tensor alpha = some_gates(model.layers());
  const at::Tensor found = gradient_at(model, options, batch, alpha);
  ASSERT_TRUE(at::isfinite(found).all().item<bool>());
  // Measured at most 6e-5 of the gradient's norm for every option and kind: what rounding of the
  // float32 loss leaves.
  EXPECT_LT(relative_error(found, central_differences(model, options, batch, alpha)), 3e-4)
      << found;
}

INSTANTIATE_TEST_SUITE_P(EveryOption, GateGradient,
                         testing::Combine(testing::Values("recomputed", "teacher"),
                                          testing::Values("mixed", "teacher"),
                                          testing::Values("residual", "mixer", "block", "last"),
                                          testing::Values("sum", "mean", "relative")));

class GateGradientOfKind : public testing::TestWithParam<BranchKind> {};

TEST_P(GateGradientOfKind, EqualsCentralDifferences) {
  const MorphModel model = tiny_morph_model({}, 1, GetParam());
  const GateBatch batch = toy_batch();
  const at::Tensor alpha = some_gates(model.layers());
  const GateOptions options;
  EXPECT_LT(relative_error(gradient_at(model, options, batch, alpha),
                           central_differences(model, options, batch, alpha)),
            3e-4);
}

INSTANTIATE_TEST_SUITE_P(EveryKind, GateGradientOfKind,
                         testing::Values(BranchKind::plain, BranchKind::lightning, BranchKind::gla,
                                         BranchKind::simple, BranchKind::mamba2, BranchKind::gdn,
                                         BranchKind::kda, BranchKind::window));

TEST(GateGradientOfCrossEntropy, EqualsCentralDifferences) {
  for (const char* supervision : {"ce", "answer"})
    for (const char* full_source : {"recomputed", "teacher"}) {
      GateOptions options;
      options.supervision = supervision;
      options.full_source = full_source;
      const MorphModel model = tiny_morph_model();
      const GateBatch batch = toy_batch(2, 24, true);
      const at::Tensor alpha = some_gates(model.layers());
      const at::Tensor found = gradient_at(model, options, batch, alpha);
      EXPECT_LT(relative_error(found, central_differences(model, options, batch, alpha)), 1e-3)
          << supervision << found;
    }
}

TEST(GateGradient, IsExactWhereGatesSitAtTheEnds) {
  // A branch whose factor is zero leaves no graph; the gradient must not notice.
  const MorphModel model = tiny_morph_model();
  const GateBatch batch = toy_batch();
  const at::Tensor alpha = at::tensor({1.0f, 0.0f, 0.5f, 0.0f});
  const GateOptions options;
  EXPECT_LT(relative_error(gradient_at(model, options, batch, alpha),
                           central_differences(model, options, batch, alpha)),
            3e-4);
}

TEST(GateLoss, AllGatesAtOneGiveExactlyNothing) {
  // What lets the trainer skip such steps.
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const char* full_source : {"recomputed", "teacher"})
      for (const char* target : {"residual", "mixer", "block", "last"}) {
        GateOptions options;
        options.full_source = full_source;
        options.target = target;
        const MorphModel model = tiny_morph_model({}, 1, BranchKind::lightning, dtype);
        const at::Tensor leaf = at::ones({model.layers()}, at::kFloat).requires_grad_(true);
        double relative = -1;
        const at::Tensor loss = gate_loss(model, options, toy_batch(), leaf, &relative);
        EXPECT_EQ(loss.item<double>(), 0) << target;
        EXPECT_EQ(relative, 0) << target;
        EXPECT_TRUE(
            at::equal(torch::autograd::grad({loss}, {leaf})[0], at::zeros({model.layers()})))
            << target;
      }
}

TEST(MixedStream, GatesAtOneAreTheTeacherBitForBit) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
    for (const bool gradient : {false, true}) {
      const MorphModel model = tiny_morph_model({}, 1, BranchKind::lightning, dtype);
      const at::Tensor ids = tiny_ids(2, 40);
      const at::AutoGradMode mode(gradient);
      const at::Tensor alpha = at::ones({model.layers()}, at::kFloat).requires_grad_(gradient);
      const at::Tensor teacher = model.states(ids, LayerPlan::all_full(model.layers()));
      for (const bool source : {false, true})
        EXPECT_TRUE(at::equal(mixed_states(model, {false, source, source}, ids, alpha), teacher));
    }
}

TEST(MixedStream, GatesAtZeroAndOneAreTheHybrid) {
  const MorphModel model = tiny_morph_model();
  const at::Tensor ids = tiny_ids(2, 40);
  const int L = model.layers();
  for (int set = 0; set < (1 << L); ++set) {
    std::vector<int> full;
    at::Tensor alpha = at::zeros({L}, at::kFloat);
    for (int l = 0; l < L; ++l)
      if (set >> l & 1) {
        full.push_back(l);
        alpha[l] = 1;
      }
    const LayerPlan plan = LayerPlan::of(L, full);
    for (const bool gradient : {false, true}) {
      const at::AutoGradMode mode(gradient);
      EXPECT_TRUE(at::equal(mixed_states(model, {}, ids, alpha.clone().requires_grad_(gradient)),
                            model.states(ids, plan)))
          << plan.to_string();
    }
  }
}

TEST(GateMix, EqualsTheKernelOfThatName) {
  at::manual_seed(5);
  for (const double value : {0.0, 0.3, 1.0}) {
    std::vector<at::Tensor> outputs, gradients[3];
    const at::Tensor f = at::randn({2, 5, 7}), l = at::randn({2, 5, 7}), up = at::randn({2, 5, 7});
    for (const bool ours : {true, false}) {
      const at::Tensor full = f.clone().requires_grad_(true),
                       linear = l.clone().requires_grad_(true);
      const at::Tensor alpha = at::full({}, value, at::kFloat).requires_grad_(true);
      const at::Tensor y =
          ours ? gate_mix(full, linear, alpha, value) : kernels::gate_mix(alpha, full, linear);
      outputs.push_back(y.detach());
      const auto g =
          torch::autograd::grad({y}, {full, linear, alpha}, {up}, std::nullopt, false, true);
      for (int i = 0; i < 3; ++i)
        gradients[i].push_back(g[i].defined() ? g[i] : at::zeros_like(i < 2 ? f : alpha));
    }
    EXPECT_TRUE(at::allclose(outputs[0], outputs[1], 1e-6, 1e-6)) << value;
    for (int i = 0; i < 3; ++i)
      EXPECT_TRUE(at::allclose(gradients[i][0], gradients[i][1], 1e-5, 1e-5)) << value << " " << i;
  }
}

TEST(GateLoss, NormsAndPaddingByHand) {
  const MorphModel model = tiny_morph_model();
  const at::Tensor alpha = some_gates(model.layers());
  const at::NoGradGuard no_grad;
  GateOptions options;
  const GateBatch batch = toy_batch();
  const double sum = gate_loss(model, options, batch, alpha).item<double>();
  options.norm = "mean";
  EXPECT_NEAR(gate_loss(model, options, batch, alpha).item<double>(),
              sum / model.teacher().config().hidden, 1e-6 * sum);
  options.norm = "relative";
  double relative = 0;
  const double loss = gate_loss(model, options, batch, alpha, &relative).item<double>();
  EXPECT_NEAR(loss, relative, 1e-6);

  // Two padded sequences give the mean of each alone (as many positions in both).
  options.norm = "sum";
  GateBatch one = toy_batch(1, 24), other = toy_batch(1, 18), both;
  both.ids = at::zeros({2, 24}, at::kLong);
  both.ids[0].copy_(one.ids[0]);
  both.ids[1].slice(0, 0, 18).copy_(other.ids[0]);
  both.rows = at::cat({one.rows, other.rows + 1});
  both.columns = at::cat({one.columns, other.columns});
  const double apart = gate_loss(model, options, one, alpha).item<double>() +
                       gate_loss(model, options, other, alpha).item<double>();
  EXPECT_NEAR(gate_loss(model, options, both, alpha).item<double>(), apart / 2, 1e-5 * apart);
}

TEST(GateLoss, StopsInForwardAndBackward) {
  const MorphModel model = tiny_morph_model();
  const StopFlag stop;
  const at::Tensor leaf = some_gates(model.layers()).requires_grad_(true);
  const at::Tensor loss = gate_loss(model, {}, toy_batch(), leaf, nullptr, &stop);
  stop.set();
  try {
    torch::autograd::grad({loss}, {leaf});
    FAIL() << "the backward pass went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::stopped);
  }
  EXPECT_THROW(gate_loss(model, {}, toy_batch(), leaf, nullptr, &stop), Error);
}

TEST(LocalErrors, EqualTheLossAtZeroOnTeacherInputs) {
  // Full and branch source teacher, target mixer: sum_l (1 - alpha_l)^2 c_l / L, so alpha = 0 gives
  // the mean of c.
  const MorphModel model = tiny_morph_model();
  GateOptions options;
  options.full_source = options.branch_source = "teacher";
  options.target = "mixer";
  const at::NoGradGuard no_grad;
  const std::vector<double> c = local_errors(model, options, toy_batch());
  double mean = 0;
  for (const double one : c) mean += one / static_cast<double>(c.size());
  EXPECT_NEAR(gate_loss(model, options, toy_batch(), at::zeros({4}, at::kFloat)).item<double>(),
              mean, 1e-5 * mean);
  EXPECT_NEAR(gate_loss(model, options, toy_batch(), at::full({4}, 0.5, at::kFloat)).item<double>(),
              mean / 4, 1e-5 * mean);
}

TEST(RowCrossEntropy, EqualsThePlainForm) {
  const auto teacher = tiny_teacher();
  at::manual_seed(8);
  const at::Tensor states = at::randn({19, 32}), labels = at::randint(0, 64, {19}, at::kLong);
  const at::Tensor a = states.clone().requires_grad_(true), b = states.clone().requires_grad_(true);
  const at::Tensor plain = at::cross_entropy_loss(teacher->logits(a), labels);
  const at::Tensor wanted = torch::autograd::grad({plain}, {a})[0];
  for (const int64_t chunk : {1, 7, 19, 100}) {
    const at::Tensor rows = row_cross_entropy(*teacher, b, labels, nullptr, chunk);
    EXPECT_NEAR(rows.item<double>(), plain.item<double>(), 1e-5);  // of 13.6, in float32
    EXPECT_TRUE(at::allclose(torch::autograd::grad({rows * 3}, {b})[0], wanted * 3, 1e-5, 1e-6))
        << chunk;
  }
  const StopFlag stop;
  stop.set();
  EXPECT_THROW(row_cross_entropy(*teacher, b, labels, &stop), Error);
}

TEST(GateBatches, TakeThePositionsTheOptionsName) {
  const ToyData data;
  GateOptions options;
  options.batch = 3;
  const GateBatch answer = gate_batch(data.passkeys, nullptr, options, 2, 16);
  EXPECT_EQ(answer.ids.size(0), 3);
  EXPECT_EQ(answer.ids.size(1) % 16, 0);
  int64_t tokens = 0, positions = 0;
  for (uint64_t i = 6; i < 9; ++i) {
    const Sample sample = data.passkeys.sample(i);
    tokens += static_cast<int64_t>(sample.ids.size());
    for (const int64_t position : sample.answer) {
      EXPECT_EQ(answer.rows[positions].item<int64_t>(), static_cast<int64_t>(i) - 6);
      EXPECT_EQ(answer.columns[positions].item<int64_t>(), position);
      ++positions;
    }
  }
  EXPECT_EQ(answer.tokens, tokens);
  EXPECT_EQ(answer.columns.numel(), positions);
  EXPECT_FALSE(answer.labels.defined());

  options.supervision = "answer";  // one earlier, with the answers as labels
  const GateBatch predict = gate_batch(data.passkeys, nullptr, options, 2);
  EXPECT_TRUE(at::equal(predict.columns + 1, answer.columns));
  EXPECT_TRUE(at::equal(predict.labels, predict.ids.index({predict.rows, predict.columns + 1})));

  options.supervision = "passkey";
  options.tokens = "qa";
  EXPECT_GT(gate_batch(data.passkeys, nullptr, options, 2).columns.numel(), positions);
  options.tokens = "all";
  EXPECT_EQ(gate_batch(data.passkeys, nullptr, options, 2).columns.numel(), tokens);
  PasskeyOptions earlier = toy_passkey_options();
  earlier.position = "predict";
  const ToyData early(earlier);
  EXPECT_EQ(gate_batch(early.passkeys, nullptr, options, 2).columns.numel(), tokens - 3);
  options.tokens = "answer";
  EXPECT_TRUE(at::equal(gate_batch(early.passkeys, nullptr, options, 2).columns, predict.columns));

  options.supervision = "ce";
  options.text_length = 20;
  const GateBatch text = gate_batch(data.passkeys, &data.text, options, 0);
  EXPECT_EQ(text.columns.numel(), 3 * 19);
  EXPECT_TRUE(at::equal(text.labels, text.ids.slice(1, 1).reshape(-1)));
  options.supervision = "lm";
  EXPECT_EQ(gate_batch(data.passkeys, &data.text, options, 0).columns.numel(), 3 * 20);
}

TEST(GateOptionsCheck, NamesTheOption) {
  const auto message = [](auto change) -> std::string {
    GateOptions options;
    change(options);
    try {
      options.check();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_request);
      return error.message();
    }
    return "";
  };
  EXPECT_EQ(message([](GateOptions&) {}), "");
  EXPECT_NE(message([](GateOptions& o) { o.target = "mixers"; }).find("target"), std::string::npos);
  EXPECT_NE(message([](GateOptions& o) { o.steps = 0; }).find("steps"), std::string::npos);
  EXPECT_NE(message([](GateOptions& o) { o.lr = std::nan(""); }).find("lr"), std::string::npos);
  EXPECT_NE(message([](GateOptions& o) { o.lr_final = 1; }).find("lr_final"), std::string::npos);
  EXPECT_NE(message([](GateOptions& o) { o.supervision = ""; }).find("supervision"),
            std::string::npos);
}

}  // namespace
}  // namespace flashmorph
