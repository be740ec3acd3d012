// SPDX-License-Identifier: Apache-2.0
// The sliced head losses against the naive form with all logits at once: value and every gradient.
#include "core/train/head_loss.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/run/error.h"

namespace flashmorph {
namespace {

struct Problem {
  at::Tensor states, head;
  HeadTarget kl, ce;
};

Problem problem(int64_t n, int64_t D, int64_t V, at::ScalarType dtype) {
  at::manual_seed(static_cast<uint64_t>(n * 1000 + V));
  const auto draw = [&](at::IntArrayRef shape, double scale) {
    return (at::randn(shape, at::kDouble) * scale).to(dtype);
  };
  Problem made;
  made.states = draw({n, D}, 1);
  made.head = draw({V, D}, 0.5);
  made.kl.reference = draw({n, D}, 1);
  made.kl.reference_head = draw({V, D}, 0.5);
  made.ce.labels = at::randint(0, V, {n}, at::kLong);
  return made;
}

double rms_ratio(const at::Tensor& got, const at::Tensor& wanted) {
  const at::Tensor a = got.to(at::kDouble), b = wanted.to(at::kDouble);
  return ((a - b).square().mean().sqrt() / (b.square().mean().sqrt() + 1e-30)).item<double>();
}

void compare(const Problem& given, const HeadTarget& target, int64_t slice, double tolerance) {
  const double scale = 0.37;
  const at::Tensor x = given.states.clone().requires_grad_(true),
                   w = given.head.clone().requires_grad_(true);
  const at::Tensor wanted = head_loss_naive(x, w, target, scale);
  const auto gradients = torch::autograd::grad({wanted}, {x, w});
  HeadLossOptions options;
  options.scale = scale;
  options.slice_rows = slice;
  const at::ScalarType wide = given.head.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  options.d_head = at::full_like(given.head, 2.0,
                                 at::TensorOptions().dtype(wide));  // added to, not written over
  const HeadLoss found = head_loss(given.states, given.head, target, options);
  EXPECT_LT(rms_ratio(found.loss, wanted.detach()), tolerance);
  EXPECT_LT(rms_ratio(found.d_states, gradients[0]), tolerance);
  EXPECT_LT(rms_ratio(options.d_head - 2.0, gradients[1]), tolerance);
  HeadLossOptions frozen = options;
  frozen.d_head = at::Tensor();
  const HeadLoss again = head_loss(given.states, given.head, target, frozen);
  EXPECT_TRUE(at::equal(again.d_states, found.d_states));
  frozen.gradient = false;
  const HeadLoss only = head_loss(given.states, given.head, target, frozen);
  EXPECT_TRUE(at::equal(only.loss, found.loss));
  EXPECT_FALSE(only.d_states.defined());
}

TEST(HeadLoss, EqualsTheNaiveFormInFloat64) {
  for (const int64_t n : {1, 7, 64})
    for (const int64_t slice : {0, 1, 5, 64, 100}) {
      const Problem given = problem(n, 12, 50, at::kDouble);
      compare(given, given.kl, slice, 1e-13);
      compare(given, given.ce, slice, 1e-13);
    }
}

TEST(HeadLoss, EqualsTheNaiveFormInFloat32) {
  // Measured at most 3e-7 and 1.1e-6 (head gradient, sums over rows).
  const Problem given = problem(100, 48, 1000, at::kFloat);
  for (const int64_t slice : {0, 13}) {
    compare(given, given.kl, slice, 3e-6);
    compare(given, given.ce, slice, 3e-6);
  }
}

TEST(HeadLoss, StaysNearInBfloat16) {
  // dz is rounded to 8 bits before its two products; the naive form rounds the same.
  const Problem given = problem(64, 32, 200, at::kBFloat16);
  compare(given, given.kl, 16, 2e-2);
  compare(given, given.ce, 16, 2e-2);
}

TEST(HeadLoss, IsZeroForTheTeacherItself) {
  Problem given = problem(20, 8, 30, at::kDouble);
  given.kl.reference = given.states;
  given.kl.reference_head = given.head;
  HeadLossOptions options;
  options.d_head = at::zeros_like(given.head);
  const HeadLoss found = head_loss(given.states, given.head, given.kl, options);
  EXPECT_EQ(found.loss.item<double>(), 0);
  EXPECT_EQ(found.d_states.abs().max().item<double>(), 0);
  EXPECT_EQ(options.d_head.abs().max().item<double>(), 0);
}

TEST(HeadLoss, KeepsSlicesSmall) {
  EXPECT_LE(head_slice_rows(151936, at::kCPU) * 151936 * 4, 16 << 20);
  EXPECT_GE(head_slice_rows(10'000'000, at::kCPU), 16);
  EXPECT_LE(head_slice_rows(151936, at::Device(at::kCUDA, 0)) * 151936 * 4, 256 << 20);
}

TEST(HeadLoss, StopsBetweenSlices) {
  const Problem given = problem(64, 8, 20, at::kFloat);
  HeadLossOptions options;
  options.slice_rows = 8;
  int slices = 0;
  options.check_stop = [&] {
    if (++slices == 3) throw Error("distill", ErrorCode::stopped, "stopped");
  };
  EXPECT_THROW(head_loss(given.states, given.head, given.kl, options), Error);
  EXPECT_EQ(slices, 3);
}

}  // namespace
}  // namespace flashmorph
