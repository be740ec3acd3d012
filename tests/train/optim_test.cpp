// SPDX-License-Identifier: Apache-2.0
// AdamW against its formula in double precision, clipping, and the learning rate shapes by hand.
#include "core/train/optim.h"

#include <cmath>

#include <gtest/gtest.h>

#include "core/run/error.h"

namespace flashmorph {
namespace {

std::vector<double> values(const at::Tensor& x) {
  const at::Tensor y = x.to(at::kDouble).contiguous();
  return {y.const_data_ptr<double>(), y.const_data_ptr<double>() + y.numel()};
}

TEST(AdamW, FollowsTheFormula) {
  at::manual_seed(1);
  const AdamWOptions options{0.9, 0.95, 1e-8, 0.1};
  std::vector<at::Tensor> parameters{at::randn({7, 5}), at::randn({33}), at::randn({1})};
  std::vector<std::vector<double>> p, m, v;
  for (const at::Tensor& one : parameters) {
    p.push_back(values(one));
    m.emplace_back(one.numel(), 0.0);
    v.emplace_back(one.numel(), 0.0);
  }
  AdamW optimizer(parameters, options);
  for (int t = 1; t <= 20; ++t) {
    const double lr = 1e-2 / t;
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& one : parameters) gradients.push_back(at::randn_like(one) * 10);
    if (t % 2) gradients[0] = at::randn({5, 7}).t();  // lies otherwise than its parameter
    optimizer.step(gradients, lr);
    for (size_t i = 0; i < p.size(); ++i) {
      const std::vector<double> g = values(gradients[i]);
      for (size_t j = 0; j < g.size(); ++j) {
        m[i][j] = options.beta1 * m[i][j] + (1 - options.beta1) * g[j];
        v[i][j] = options.beta2 * v[i][j] + (1 - options.beta2) * g[j] * g[j];
        p[i][j] -= lr * options.weight_decay * p[i][j];
        p[i][j] -= lr * (m[i][j] / (1 - std::pow(options.beta1, t))) /
                   (std::sqrt(v[i][j] / (1 - std::pow(options.beta2, t))) + options.eps);
      }
    }
  }
  EXPECT_EQ(optimizer.steps(), 20);
  for (size_t i = 0; i < p.size(); ++i) {
    const std::vector<double> found = values(parameters[i]);
    for (size_t j = 0; j < found.size(); ++j) EXPECT_NEAR(found[j], p[i][j], 2e-6) << i << " " << j;
  }
}

TEST(AdamW, RestoredMomentsGoOnBitForBit) {
  at::manual_seed(2);
  const at::Tensor start = at::randn({40});
  std::vector<at::Tensor> gradients;
  for (int t = 0; t < 6; ++t) gradients.push_back(at::randn({40}));
  const at::Tensor whole = start.clone();
  AdamW one({whole}, {});
  for (const at::Tensor& g : gradients) one.step({g}, 1e-2);

  const at::Tensor split = start.clone();
  AdamW before({split}, {});
  for (int t = 0; t < 3; ++t) before.step({gradients[t]}, 1e-2);
  AdamW after({split}, {});
  after.restore(before.first_moments(), before.second_moments(), before.steps());
  for (int t = 3; t < 6; ++t) after.step({gradients[t]}, 1e-2);
  EXPECT_TRUE(at::equal(whole, split));
  EXPECT_THROW(after.restore({at::zeros({3})}, {at::zeros({3})}, 1), Error);
  EXPECT_THROW(after.step({}, 1e-2), Error);
}

TEST(Clipping, ScalesToTheLimitAndLeavesSmallGradientsAlone) {
  const std::vector<at::Tensor> gradients{at::full({3}, 2.0), at::full({1}, 2.0)};  // common norm 4
  const at::Tensor norms = gradient_norms(gradients);
  EXPECT_NEAR(norms[0].item<double>(), 2 * std::sqrt(3.0), 1e-6);
  EXPECT_NEAR(norms[1].item<double>(), 2.0, 1e-6);
  scale_gradients(gradients, 4.0, 8.0);
  EXPECT_EQ(gradients[1].item<double>(), 2.0);
  scale_gradients(gradients, 4.0, 0.0);  // no limit
  EXPECT_EQ(gradients[1].item<double>(), 2.0);
  scale_gradients(gradients, 4.0, 1.0);
  EXPECT_NEAR(gradients[1].item<double>(), 0.5, 1e-6);
}

TEST(LearningRate, CosineWithWarmup) {
  EXPECT_DOUBLE_EQ(cosine_rate(0, 110, 10, 1.0, 0.1), 0.1);
  EXPECT_DOUBLE_EQ(cosine_rate(9, 110, 10, 1.0, 0.1), 1.0);
  EXPECT_DOUBLE_EQ(cosine_rate(10, 110, 10, 1.0, 0.1), 1.0);
  EXPECT_NEAR(cosine_rate(60, 110, 10, 1.0, 0.1), 0.55, 1e-12);
  EXPECT_NEAR(cosine_rate(110, 110, 10, 1.0, 0.1), 0.1, 1e-12);
  EXPECT_NEAR(cosine_rate(500, 110, 10, 1.0, 0.1), 0.1, 1e-12);
  EXPECT_DOUBLE_EQ(cosine_rate(0, 1, 0, 1.0, 0.1), 1.0);
}

TEST(LearningRate, Trapezoid) {
  // 100 steps: rises over 20, falls over 20, never below a tenth.
  EXPECT_DOUBLE_EQ(trapezoid_rate(0, 100, 2.0, 0.2), 0.2);  // (0+1)/20 = 0.05 is below the floor
  EXPECT_DOUBLE_EQ(trapezoid_rate(9, 100, 2.0, 0.2), 1.0);  // 10/20
  EXPECT_DOUBLE_EQ(trapezoid_rate(19, 100, 2.0, 0.2), 2.0);
  EXPECT_DOUBLE_EQ(trapezoid_rate(50, 100, 2.0, 0.2), 2.0);
  EXPECT_DOUBLE_EQ(trapezoid_rate(80, 100, 2.0, 0.2), 2.0);  // 20/20
  EXPECT_DOUBLE_EQ(trapezoid_rate(90, 100, 2.0, 0.2), 1.0);  // 10/20
  EXPECT_DOUBLE_EQ(trapezoid_rate(99, 100, 2.0, 0.2), 0.2);  // 1/20 is below the floor
}

}  // namespace
}  // namespace flashmorph
