// SPDX-License-Identifier: Apache-2.0
// RMSNorm, L2 normalisation, gate mix and short convolution against plain differentiable
// operations.
#include <cmath>

#include "compare.h"
#include "kernels/gate_mix.h"
#include "kernels/l2_normalize.h"
#include "kernels/rms_norm.h"
#include "kernels/short_conv.h"

namespace flashmorph::kernels {
namespace {

void expect_same(const Evaluation& got, const Evaluation& reference, double tolerance,
                 const std::string& where) {
  ASSERT_EQ(got.gradients.size(), reference.gradients.size());
  for (size_t i = 0; i < got.outputs.size(); ++i)
    EXPECT_LT(relative_error(got.outputs[i], reference.outputs[i]), tolerance)
        << where << ", output " << i;
  for (size_t i = 0; i < got.gradients.size(); ++i) {
    ASSERT_TRUE(got.gradients[i].defined()) << where << ", gradient " << i;
    EXPECT_LT(relative_error(got.gradients[i], reference.gradients[i]), tolerance)
        << where << ", gradient " << i;
  }
}

// LlamaRMSNorm, line by line.
at::Tensor llama_rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  const auto wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor h = x.to(wide);
  const at::Tensor variance = h.pow(2).mean(-1, /*keepdim=*/true);
  h = h * at::rsqrt(variance + eps);
  return weight * h.to(x.scalar_type());
}

TEST(RmsNorm, EqualsLlamaRmsNorm) {
  at::manual_seed(1);
  for (const int64_t D : {1, 7, 64, 100, 576}) {
    const std::vector<at::Tensor> leaves{at::randn({3, 50, D}, at::kDouble) * 3,
                                         at::randn({D}, at::kDouble)};
    const std::vector<at::Tensor> weights{at::randn({3, 50, D}, at::kDouble)};
    const Op ours = [](const auto& x) {
      return std::vector<at::Tensor>{rms_norm(x[0], x[1], 1e-5)};
    };
    const Op theirs = [](const auto& x) {
      return std::vector<at::Tensor>{llama_rms_norm(x[0], x[1], 1e-5)};
    };
    expect_same(run(ours, leaves, weights), run(theirs, leaves, weights), 1e-13,
                "float64, D = " + std::to_string(D));
    const std::vector<at::Tensor> single{leaves[0].to(at::kFloat), leaves[1].to(at::kFloat)};
    expect_same(run(ours, single, weights), run(theirs, single, weights), 1e-5,
                "float32, D = " + std::to_string(D));
    // bfloat16: the same casts in the same order, so most values agree exactly; gradients are
    // rounded to 2^-9
    const std::vector<at::Tensor> narrow{leaves[0].to(at::kBFloat16), leaves[1].to(at::kBFloat16)};
    const Evaluation a = run(ours, narrow, weights), b = run(theirs, narrow, weights);
    EXPECT_LT(relative_error(a.outputs[0], b.outputs[0]), 5e-4) << D;
    EXPECT_GT((a.outputs[0] == b.outputs[0]).to(at::kFloat).mean().item<float>(), 0.995F) << D;
    expect_same(a, b, 1e-2, "bfloat16, D = " + std::to_string(D));
  }
}

TEST(RmsNorm, FrozenWeightGetsNoGradientAndRowsMayBeStrided) {
  at::manual_seed(2);
  const at::Tensor base = at::randn({4, 10, 6}, at::kDouble);
  const at::Tensor weight = at::randn({10}, at::kDouble);
  at::Tensor x = base.transpose(1, 2).detach().requires_grad_(true);
  const at::Tensor y = rms_norm(x, weight, 1e-6);
  y.sum().backward();
  EXPECT_LT(relative_error(y, llama_rms_norm(x, weight, 1e-6)), 1e-14);
  EXPECT_TRUE(x.grad().defined());
  EXPECT_FALSE(weight.grad().defined());
}

TEST(L2Normalize, EqualsItsFormula) {
  at::manual_seed(3);
  const std::vector<at::Tensor> leaves{at::randn({2, 30, 3, 17}, at::kDouble)};
  const std::vector<at::Tensor> weights{at::randn({2, 30, 3, 17}, at::kDouble)};
  const Op ours = [](const auto& x) { return std::vector<at::Tensor>{l2_normalize(x[0])}; };
  const Op plain = [](const auto& x) {
    return std::vector<at::Tensor>{x[0] / (x[0].square().sum(-1, true) + 1e-6).sqrt()};
  };
  expect_same(run(ours, leaves, weights), run(plain, leaves, weights), 1e-13, "float64");
  const std::vector<at::Tensor> narrow{leaves[0].to(at::kBFloat16)};
  EXPECT_LT(relative_error(l2_normalize(narrow[0]), l2_normalize(narrow[0].to(at::kDouble))), 3e-3);
  EXPECT_TRUE(at::equal(l2_normalize(at::zeros({2, 4})), at::zeros({2, 4})));
}

TEST(GateMix, EqualsItsFormula) {
  at::manual_seed(4);
  for (const double alpha : {0.0, 0.3, 0.9, 1.0}) {
    const std::vector<at::Tensor> leaves{at::scalar_tensor(alpha, at::kDouble),
                                         at::randn({2, 300, 77}, at::kDouble),
                                         at::randn({2, 300, 77}, at::kDouble)};
    const std::vector<at::Tensor> weights{at::randn({2, 300, 77}, at::kDouble)};
    const Op ours = [](const auto& x) {
      return std::vector<at::Tensor>{gate_mix(x[0], x[1], x[2])};
    };
    const Op plain = [](const auto& x) {
      return std::vector<at::Tensor>{x[0] * x[1] + (1 - x[0]) * x[2]};
    };
    const auto agree = [&](const std::vector<at::Tensor>& x, double tolerance, const char* where) {
      const Evaluation a = run(ours, x, weights), b = run(plain, x, weights);
      EXPECT_LT(largest_difference(a.outputs[0], b.outputs[0]), tolerance * 10) << where;
      for (size_t i = 0; i < 3; ++i)
        EXPECT_LT(largest_difference(a.gradients[i], b.gradients[i]) /
                      (b.gradients[i].abs().max().item<double>() + 1),
                  tolerance)
            << where << ", gradient " << i << ", alpha " << alpha;
    };
    agree(leaves, 1e-12, "float64");
    agree({leaves[0].to(at::kFloat), leaves[1].to(at::kFloat), leaves[2].to(at::kFloat)}, 1e-5,
          "float32");
  }
}

TEST(GateMix, EndsAreExactWhateverTheOtherBranchHolds) {
  at::manual_seed(5);
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const at::Tensor full = at::randn({5, 7}).to(type);
    full.select(0, 0).fill_(-0.0);
    const at::Tensor broken = at::full({5, 7}, std::nan(""), full.options());
    const auto bits = [](const at::Tensor& x) {
      return x.contiguous().view(x.element_size() == 4 ? at::kInt : at::kShort);
    };
    for (const bool grad : {false, true}) {
      const at::Tensor one = at::ones({}).requires_grad_(grad);
      const at::Tensor zero = at::zeros({}).requires_grad_(grad);
      EXPECT_TRUE(at::equal(bits(gate_mix(one, full, broken)), bits(full)));
      EXPECT_TRUE(at::equal(bits(gate_mix(zero, broken, full)), bits(full)));
    }
  }
}

class ShortConvolutions : public ::testing::TestWithParam<int64_t> {};

TEST_P(ShortConvolutions, FastEqualsNaiveAndStepwise) {
  const int64_t T = GetParam(), D = 12, B = 2;
  at::manual_seed(6);
  for (const int64_t W : {1, 2, 4}) {
    if (T > 100 && W < 4) continue;
    const std::vector<at::Tensor> leaves{
        at::randn({B, T, D}, at::kDouble), at::randn({D, W}, at::kDouble),
        at::randn({D}, at::kDouble), at::randn({B, D, W - 1}, at::kDouble)};
    const std::vector<at::Tensor> weights{at::randn({B, T, D}, at::kDouble),
                                          at::randn({B, D, W - 1}, at::kDouble)};
    for (const bool silu : {false, true}) {
      const auto op = [silu](Form form) -> Op {
        return [silu, form](const auto& x) {
          ShortConv out = short_conv(x[0], x[1], x[2], silu, x[3], form);
          return std::vector<at::Tensor>{out.output, out.state};
        };
      };
      const Op steps = [silu](const auto& x) {
        std::vector<at::Tensor> outputs;
        at::Tensor state = x[3];
        for (int64_t t = 0; t < x[0].size(1); ++t) {
          ShortConv out = short_conv(x[0].narrow(1, t, 1), x[1], x[2], silu, state);
          outputs.push_back(out.output);
          state = out.state;
        }
        return std::vector<at::Tensor>{at::cat(outputs, 1), state};
      };
      const std::string where = "W = " + std::to_string(W) + (silu ? " silu" : "");
      const Evaluation naive = run(op(Form::naive), leaves, weights);
      expect_same(run(op(Form::chunk), leaves, weights), naive, 1e-12, where + " fast");
      expect_same(run(steps, leaves, weights), naive, 1e-12, where + " stepwise");
      std::vector<at::Tensor> single;
      for (const auto& leaf : leaves) single.push_back(leaf.to(at::kFloat));
      expect_same(run(op(Form::chunk), single, weights), run(op(Form::naive), single, weights),
                  1e-4, where + " float32");
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Lengths, ShortConvolutions, ::testing::Values(1, 2, 63, 64, 100, 1000),
                         [](const auto& test) { return "T" + std::to_string(test.param); });

TEST(ShortConvolution, EqualsConv1d) {
  at::manual_seed(7);
  const int64_t D = 10, W = 4, T = 50;
  const at::Tensor x = at::randn({2, T, D}, at::kDouble), weight = at::randn({D, W}, at::kDouble);
  const at::Tensor bias = at::randn({D}, at::kDouble);
  const at::Tensor padded = at::constant_pad_nd(x.transpose(1, 2), {W - 1, 0});
  const at::Tensor reference = at::conv1d(padded, weight.unsqueeze(1), bias, at::IntArrayRef(1),
                                          at::IntArrayRef(0), at::IntArrayRef(1), /*groups=*/D)
                                   .transpose(1, 2);
  EXPECT_LT(largest_difference(short_conv(x, weight, bias, false).output, reference), 1e-13);
  EXPECT_LT(largest_difference(short_conv(x, weight, bias, true).output, at::silu(reference)),
            1e-13);
  const ShortConv out = short_conv(x, weight, {}, false);
  EXPECT_TRUE(at::equal(out.state, x.narrow(1, T - W + 1, W - 1).transpose(1, 2)));
}

}  // namespace
}  // namespace flashmorph::kernels
