// SPDX-License-Identifier: Apache-2.0
#include "core/select/local_mse.h"

#include <gtest/gtest.h>

#include <numeric>

#include "core/run/error.h"
#include "core/select/ranking.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tiny_prompts.h"

namespace flashmorph {
namespace {

// Layer by layer, prompt by prompt, from the definition.
std::pair<std::vector<double>, std::vector<double>> plain(const MorphModel& model,
                                                          const std::vector<Sample>& prompts,
                                                          bool all) {
  const at::NoGradGuard no_grad;
  const Teacher& teacher = model.teacher();
  std::vector<double> squared(static_cast<size_t>(model.layers())), norm(squared.size());
  double tokens = 0;
  for (const Sample& prompt : prompts) {
    const at::Tensor ids = at::tensor(at::ArrayRef<int64_t>(prompt.ids), at::kLong).unsqueeze(0);
    std::vector<int64_t> where = prompt.answer;
    if (all) {
      where.resize(prompt.ids.size());
      std::iota(where.begin(), where.end(), 0);
    }
    tokens += static_cast<double>(where.size());
    const RopeTable rope = teacher.rope_table(0, ids.size(1));
    at::Tensor x = teacher.embed(ids);
    for (int l = 0; l < model.layers(); ++l) {
      const at::Tensor u = teacher.input_norm(l, x);
      const at::Tensor full = teacher.attention(l, u, rope),
                       linear = model.branch(l).forward(u, rope);
      for (const int64_t t : where) {
        squared[static_cast<size_t>(l)] +=
            (linear - full)[0][t].to(at::kDouble).square().sum().item<double>();
        norm[static_cast<size_t>(l)] += full[0][t].to(at::kDouble).square().sum().item<double>();
      }
      x = x + full;
      x = x + teacher.mlp(l, x);
    }
  }
  std::vector<double> relative;
  for (size_t l = 0; l < squared.size(); ++l) {
    relative.push_back(squared[l] / norm[l]);
    squared[l] /= tokens;
  }
  return {squared, relative};
}

TEST(LocalMse, EqualsTheDefinition) {
  const MorphModel model = tiny_morph_model({.layers = 5});
  SelectorInput input;
  input.model = &model;
  input.prompts = tiny_prompts(5, 40);
  input.budget = 2;
  for (const bool all : {false, true}) {
    input.local_tokens = all ? "all" : "answer";
    const auto [squared, relative] = plain(model, input.prompts, all);
    const SelectorResult mse = run_selector("local_mse", input, {}, StopFlag());
    const SelectorResult rel = run_selector("local_rel", input, {}, StopFlag());
    for (size_t l = 0; l < squared.size(); ++l) {
      EXPECT_NEAR(mse.score[l], squared[l], 1e-5 * squared[l]);  // measured 6e-8
      EXPECT_NEAR(rel.score[l], relative[l], 1e-5 * relative[l]);
    }
    EXPECT_EQ(mse.evaluations, 1);
    EXPECT_EQ(mse.plan.budget(), 2);
    const auto alpha = mse.detail.at("closed_form_alpha").get<std::vector<double>>();
    EXPECT_NEAR(std::accumulate(alpha.begin(), alpha.end(), 0.0), 2.0, 1e-9);
    EXPECT_EQ(keep_top(alpha, 2), mse.plan)
        << "the gates of the decoupled problem rank as the local error does";
  }
  input.local_tokens = "some";
  EXPECT_THROW(run_selector("local_mse", input, {}, StopFlag()), Error);
}

// The closed form is the minimum of (1-a)^2 c/L + lambda a on [0, 1]: a fine grid finds nothing
// lower.
TEST(LocalMse, ClosedFormIsTheMinimum) {
  const std::vector<double> c = {0.01, 0.2, 1.0, 7.0};
  for (const double lambda : {0.01, 0.1, 1.0}) {
    const std::vector<double> alpha = closed_form_alpha(c, lambda);
    for (size_t l = 0; l < c.size(); ++l) {
      const auto loss = [&](double a) { return (1 - a) * (1 - a) * c[l] / 4 + lambda * a; };
      for (int i = 0; i <= 1000; ++i) EXPECT_LE(loss(alpha[l]), loss(i / 1000.0) + 1e-12);
    }
  }
  EXPECT_EQ(closed_form_alpha({0.0, 1.0}, 0.0), (std::vector<double>{1.0, 1.0}));
  EXPECT_EQ(closed_form_lambda(c, 4), 0.0);
  const std::vector<double> none = closed_form_alpha(c, closed_form_lambda(c, 0));
  EXPECT_NEAR(std::accumulate(none.begin(), none.end(), 0.0), 0.0, 1e-12);
}

}  // namespace
}  // namespace flashmorph
