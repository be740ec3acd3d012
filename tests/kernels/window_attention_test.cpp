// SPDX-License-Identifier: Apache-2.0
// Window attention: the token loop against a masked softmax, the blocked form against the token
// loop.
#include "kernels/window_attention.h"

#include <cmath>
#include <limits>

#include "compare.h"

namespace flashmorph::kernels {
namespace {

at::Tensor masked_softmax(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          int64_t sink, int64_t window, double scale) {
  const int64_t T = q.size(1), S = k.size(1), repeat = q.size(2) / k.size(2);
  const at::Tensor keys = k.repeat_interleave(repeat, 2), values = v.repeat_interleave(repeat, 2);
  const at::Tensor query = at::arange(S - T, S).unsqueeze(1), key = at::arange(S).unsqueeze(0);
  const at::Tensor seen =
      key.le(query).logical_and(key.lt(sink).logical_or(key.gt(query - window)));
  const at::Tensor scores = at::einsum("bthk,bshk->bhts", {q, keys}) * scale;
  const at::Tensor weights = at::softmax(
      scores.masked_fill(seen.logical_not(), -std::numeric_limits<double>::infinity()), -1);
  return at::einsum("bhts,bshv->bthv", {weights, values});
}

struct Sizes {
  int64_t T, S, sink, window;
};

std::ostream& operator<<(std::ostream& out, const Sizes& n) {
  return out << "T " << n.T << ", S " << n.S << ", sink " << n.sink << ", window " << n.window;
}

class WindowAttentions : public ::testing::TestWithParam<Sizes> {};

TEST_P(WindowAttentions, FormsAgree) {
  const Sizes n = GetParam();
  at::manual_seed(11);
  const int64_t B = n.T > 300 ? 1 : 2, H = 4, G = 2, K = 8, V = 5;
  const double scale = 1 / std::sqrt(8.0);
  const std::vector<at::Tensor> leaves{at::randn({B, n.T, H, K}, at::kDouble) * 2,
                                       at::randn({B, n.S, G, K}, at::kDouble) * 2,
                                       at::randn({B, n.S, G, V}, at::kDouble)};
  const std::vector<at::Tensor> weights{at::randn({B, n.T, H, V}, at::kDouble)};
  const auto op = [&](Form form) -> Op {
    return [&, form](const auto& x) {
      return std::vector<at::Tensor>{
          window_attention(x[0], x[1], x[2], n.sink, n.window, scale, form)};
    };
  };
  const Op truth = [&](const auto& x) {
    return std::vector<at::Tensor>{masked_softmax(x[0], x[1], x[2], n.sink, n.window, scale)};
  };
  const auto compare = [&](const Evaluation& got, const Evaluation& reference, double tolerance,
                           const char* form) {
    EXPECT_LT(relative_error(got.outputs[0], reference.outputs[0]), tolerance) << form << ", " << n;
    for (size_t i = 0; i < 3; ++i)
      // a query that sees one token only has no gradient at all: compare absolutely there
      EXPECT_LT(largest_difference(got.gradients[i], reference.gradients[i]) /
                    (1 + reference.gradients[i].abs().max().item<double>()),
                tolerance)
          << form << ", gradient " << i << ", " << n;
  };
  const Evaluation masked = run(truth, leaves, weights);
  compare(run(op(Form::naive), leaves, weights), masked, 1e-12, "naive");
  compare(run(op(Form::chunk), leaves, weights), masked, 1e-12, "blocks");
  std::vector<at::Tensor> single;
  for (const auto& leaf : leaves) single.push_back(leaf.to(at::kFloat));
  compare(run(op(Form::chunk), single, weights), run(op(Form::naive), single, weights), 1e-4,
          "float32");
}

INSTANTIATE_TEST_SUITE_P(Shapes, WindowAttentions,
                         ::testing::Values(Sizes{1, 1, 0, 1}, Sizes{1, 300, 4, 16},
                                           Sizes{63, 63, 0, 64}, Sizes{64, 64, 8, 8},
                                           Sizes{100, 100, 0, 1}, Sizes{100, 137, 150, 20},
                                           Sizes{300, 300, 5, 40}, Sizes{1000, 1000, 16, 100}));

TEST(WindowAttention, StepsWithACacheEqualTheWholeSequence) {
  at::manual_seed(12);
  const at::Tensor q = at::randn({1, 50, 4, 8}), k = at::randn({1, 50, 2, 8}),
                   v = at::randn({1, 50, 2, 8});
  const at::Tensor whole = window_attention(q, k, v, 3, 10, 0.5);
  std::vector<at::Tensor> outputs;
  for (int64_t t = 0; t < 50; ++t)
    outputs.push_back(window_attention(q.narrow(1, t, 1), k.narrow(1, 0, t + 1),
                                       v.narrow(1, 0, t + 1), 3, 10, 0.5));
  EXPECT_LT(relative_error(at::cat(outputs, 1), whole), 1e-6);
}

TEST(WindowAttention, AWindowOverEverythingIsCausalAttention) {
  at::manual_seed(13);
  const at::Tensor q = at::randn({1, 200, 4, 16}), k = at::randn({1, 200, 4, 16}),
                   v = at::randn({1, 200, 4, 16});
  const at::Tensor reference = at::scaled_dot_product_attention(
                                   q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), {}, 0.0,
                                   /*is_causal=*/true)
                                   .transpose(1, 2);
  EXPECT_LT(relative_error(window_attention(q, k, v, 0, 200, 0.25), reference), 1e-5);
}

}  // namespace
}  // namespace flashmorph::kernels
