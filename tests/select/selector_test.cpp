// SPDX-License-Identifier: Apache-2.0
#include "core/select/selector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "core/run/error.h"
#include "core/select/exact.h"
#include "core/select/ranking.h"
#include "tests/support/tiny_model.h"
#include "tests/support/tiny_prompts.h"

namespace flashmorph {
namespace {

constexpr int kLayers = 5, kBudget = 2;

class NumberedText : public TextSource {
 public:
  TokenIds take(uint64_t seed, uint64_t index, int64_t tokens) const override {
    return tiny_prompt(tokens, 1, 1, seed * 1000 + index).ids;
  }
  int64_t size() const override { return int64_t{1} << 40; }
  std::string data_sha256() const override { return std::string(64, '0'); }
};

class Selectors : public testing::Test {
 protected:
  Selectors() : model(tiny_morph_model({.layers = kLayers})) {
    input.model = &model;
    input.prompts = tiny_prompts(4, 30);
    for (size_t i = 0; i < input.prompts.size(); ++i)
      plant_answer(model, LayerPlan::all_full(kLayers), input.prompts[i], static_cast<int64_t>(i));
    input.text = &text;
    input.text_tokens = 120;
    input.text_length = 30;
    input.budget = kBudget;
  }
  SelectorResult run(const std::string& method) {
    return run_selector(method, input, {}, StopFlag());
  }
  double nll(const LayerPlan& plan) const {
    return plain_mean(model, plan, input.prompts).nll_nats;
  }
  double recall(const LayerPlan& plan) const {
    return plain_mean(model, plan, input.prompts).score;
  }
  // All logits of the calibration text: (NLL, KL from the teacher).
  std::pair<double, double> on_text(const LayerPlan& plan) const {
    const at::NoGradGuard no_grad;
    double nll = 0, kl = 0, n = 0;
    for (int64_t i = 0; i < 4; ++i) {
      const std::vector<int64_t> ids = text.take(input.seed, static_cast<uint64_t>(i), 30);
      const at::Tensor t = at::tensor(at::ArrayRef<int64_t>(ids), at::kLong).unsqueeze(0);
      const auto log_p = [&](const LayerPlan& of) {
        return at::log_softmax(model.teacher().logits(model.states(t, of)).to(at::kDouble), -1)[0]
            .narrow(0, 0, 29);
      };
      const at::Tensor p = log_p(LayerPlan::all_full(kLayers)), q = log_p(plan);
      nll -= q.gather(1, t[0].narrow(0, 1, 29).unsqueeze(1)).sum().item<double>();
      kl += (p.exp() * (p - q)).sum().item<double>();
      n += 29;
    }
    return {nll / n, kl / n};
  }
  static constexpr double kTolerance =
      1e-5;  // float32 batches against float64 logits; measured 7e-7

  MorphModel model;
  NumberedText text;
  SelectorInput input;
};

TEST_F(Selectors, SwapNll) {
  const SelectorResult result = run("swap_nll");
  const double teacher = nll(LayerPlan::all_full(kLayers));
  for (int l = 0; l < kLayers; ++l)
    EXPECT_NEAR(result.score[static_cast<size_t>(l)], nll(all_but(kLayers, l)) - teacher,
                kTolerance);
  EXPECT_EQ(result.plan, keep_top(result.score, kBudget));
  EXPECT_EQ(result.evaluations, kLayers + 1);
  EXPECT_EQ(result.forwards, (kLayers + kLayers * (kLayers + 1) / 2 + kLayers - 1) / kLayers * 1);
}

TEST_F(Selectors, RecallDrop) {
  const SelectorResult result = run("recall_drop");
  const double teacher = recall(LayerPlan::all_full(kLayers));
  for (int l = 0; l < kLayers; ++l)
    EXPECT_NEAR(result.score[static_cast<size_t>(l)], teacher - recall(all_but(kLayers, l)), 1e-12);
}

TEST_F(Selectors, SwapKlAndGaS2) {
  const SelectorResult swap = run("swap_kl"), restore = run("ga_s2");
  for (int l = 0; l < kLayers; ++l) {
    EXPECT_NEAR(swap.score[static_cast<size_t>(l)], on_text(all_but(kLayers, l)).second,
                kTolerance);
    EXPECT_NEAR(restore.score[static_cast<size_t>(l)], -on_text(only(kLayers, l)).second,
                kTolerance);
  }
  EXPECT_EQ(restore.detail.at("steps"), 0);
  EXPECT_EQ(restore.plan, keep_top(restore.score, kBudget));
}

TEST_F(Selectors, HaloMeasured) {
  const SelectorResult result = run("halo");
  double best_R = 0, best_C = -1e9;
  std::vector<double> R, C;
  for (int l = 0; l < kLayers; ++l) {
    R.push_back(recall(all_but(kLayers, l)));
    C.push_back(-on_text(all_but(kLayers, l)).first);
    best_R = std::max(best_R, R.back());
    best_C = std::max(best_C, C.back());
  }
  for (size_t l = 0; l < R.size(); ++l) {
    if (C[l] == best_C) continue;  // divided by nothing
    const double expected = std::min(50.0, (best_R - R[l]) / (best_C - C[l] + 1e-10));
    EXPECT_NEAR(result.score[l], expected, 1e-3 * std::abs(expected) + 1e-9);
  }
  EXPECT_NE(result.detail.at("control_metric").get<std::string>().find("NLL"), std::string::npos);
}

TEST_F(Selectors, GreedyAddByBruteForce) {
  for (int K = 0; K <= kLayers; ++K) {
    input.budget = K;
    const SelectorResult result = run("greedy_add");
    LayerPlan plan = LayerPlan::all_linear(kLayers);
    std::vector<double> score(kLayers, 0.0);
    while (plan.budget() < K) {
      int best = -1;
      double lowest = 1e9;
      for (int l = 0; l < kLayers; ++l) {
        if (plan.is_full(l)) continue;
        std::vector<int> full = plan.full;
        full.push_back(l);
        const double value = nll(LayerPlan::of(kLayers, full));
        if (value < lowest) {
          lowest = value;
          best = l;
        }
      }
      score[static_cast<size_t>(best)] = K - plan.budget();
      plan.full.push_back(best);
      plan = LayerPlan::of(kLayers, plan.full);
    }
    EXPECT_EQ(result.plan, plan);
    EXPECT_EQ(result.score, score);
    EXPECT_EQ(result.evaluations, K * (2 * kLayers - K + 1) / 2);
    EXPECT_EQ(result.detail.at("path").size(), static_cast<size_t>(K));
  }
}

TEST_F(Selectors, GreedyDropByBruteForce) {
  for (const double floor : {0.0, 0.05, 1e-6}) {
    input.quality_floor = floor;
    const SelectorResult result = run("greedy_drop");
    const double teacher = nll(LayerPlan::all_full(kLayers));
    LayerPlan plan = LayerPlan::all_full(kLayers);
    while (plan.budget() > kBudget) {
      LayerPlan best;
      double lowest = 1e9;
      for (const int l : plan.full) {
        LayerPlan less = plan;
        std::erase(less.full, l);
        if (nll(less) <= lowest) {
          lowest = nll(less);
          best = less;
        }
      }
      if (floor > 0 && lowest > teacher + floor) break;
      plan = best;
    }
    EXPECT_EQ(result.plan, plan) << floor;
    EXPECT_EQ(result.detail.at("floor_reached").get<bool>(), plan.budget() > kBudget);
    EXPECT_EQ(keep_top(result.score, result.plan.budget()), result.plan)
        << "the score tells the same set";
    if (floor == 0) {
      EXPECT_EQ(result.evaluations, (kLayers * (kLayers + 1) - kBudget * (kBudget + 1)) / 2 + 1);
    }
  }
}

TEST_F(Selectors, ExactIsTheBestOfAll) {
  const SelectorResult result = run("exact");
  LayerPlan best;
  double lowest = 1e9;
  for (int a = 0; a < kLayers; ++a)
    for (int b = a + 1; b < kLayers; ++b)
      if (const double value = nll(LayerPlan::of(kLayers, {a, b})); value < lowest) {
        lowest = value;
        best = LayerPlan::of(kLayers, {a, b});
      }
  EXPECT_EQ(result.plan, best);
  EXPECT_EQ(result.evaluations, 10);
  EXPECT_NEAR(result.detail.at("best")[0].at("nll_nats").get<double>(), lowest, kTolerance);
  EXPECT_EQ(keep_top(result.score, kBudget), best);
  for (int l = 0; l < kLayers; ++l)
    EXPECT_EQ(result.score[static_cast<size_t>(l)] > 0, best.is_full(l));
  for (const int K : {0, kLayers}) {
    input.budget = K;
    EXPECT_EQ(run("exact").plan.budget(), K);
  }
}

TEST(Exact, CountsAndLists) {
  EXPECT_EQ(binomial(28, 7), 1184040);
  EXPECT_EQ(binomial(36, 9), 94143280);
  EXPECT_EQ(binomial(48, 12), 69668534468);
  EXPECT_EQ(binomial(62, 31), 465428353255261088);
  EXPECT_EQ(binomial(200, 100), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(binomial(5, 6), 0);
  EXPECT_EQ(binomial(5, 0), 1);
  const std::vector<LayerPlan> plans = all_plans(6, 3);
  EXPECT_EQ(plans.size(), 20U);
  EXPECT_EQ(std::set<LayerPlan>(plans.begin(), plans.end()).size(), 20U);
  EXPECT_TRUE(std::is_sorted(plans.begin(), plans.end()));
  EXPECT_EQ(truth_plans(10, 4).size(), 2U + 10 + 45 + 120 + 210);
  EXPECT_EQ(truth_plans(3, 3).size(), 8U) << "all full stands once";
  EXPECT_THROW(truth_plans(28, 7), Error);
  EXPECT_THROW(truth_plans(28, 0), Error);
}

TEST(Exact, RefusesTooManyPlansWithTheCount) {
  const MorphModel model = tiny_morph_model({.layers = 28});
  SelectorInput input;
  input.model = &model;
  input.prompts = tiny_prompts(1, 20);
  input.budget = 7;
  try {
    run_selector("exact", input, {}, StopFlag());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_request);
    EXPECT_NE(error.message().find("1184040"), std::string::npos) << error.message();
  }
}

TEST_F(Selectors, Uniform) {
  const MorphModel large = tiny_morph_model({.layers = 30});
  input.model = &large;
  input.budget = 8;
  EXPECT_EQ(run("uniform").plan.full,
            (std::vector<int>{0, 3, 7, 11, 15, 18, 22, 26}));  // the row of method 9
  input.offset = 3;
  EXPECT_EQ(run("uniform").plan.full, (std::vector<int>{3, 6, 10, 14, 18, 21, 25, 29}));
  EXPECT_EQ(run("uniform").tokens, 0);
  for (const int offset : {4, -1}) {
    input.offset = offset;
    EXPECT_THROW(run("uniform"), Error);
  }
  input.budget = 0;
  EXPECT_EQ(run("uniform").plan.budget(), 0);
}

TEST_F(Selectors, RandomIsSeededAndEven) {
  std::vector<int> kept(kLayers, 0);
  std::set<LayerPlan> sets;
  for (input.seed = 1; input.seed <= 2000; ++input.seed) {
    const SelectorResult result = run("random");
    EXPECT_EQ(result.plan.budget(), kBudget);
    sets.insert(result.plan);
    for (const int l : result.plan.full) ++kept[static_cast<size_t>(l)];
  }
  EXPECT_EQ(sets.size(), 10U) << "every pair occurs";
  // 800 expected, standard deviation 22: five of them.
  for (const int count : kept) EXPECT_NEAR(count, 800, 110);
  input.seed = 7;
  EXPECT_EQ(run("random").plan, run("random").plan);
  EXPECT_EQ(run("random").seed, 7U);
}

TEST_F(Selectors, EveryMethodTellsTheWholeStory) {
  for (const auto& [id, sentence] : selector_methods()) {
    SCOPED_TRACE(id);
    EXPECT_FALSE(sentence.empty());
    std::vector<Progress> seen;
    const SelectorResult result = run_selector(
        id, input, [&](const Progress& p) { seen.push_back(p); }, StopFlag());
    EXPECT_EQ(result.score.size(), static_cast<size_t>(kLayers));
    EXPECT_EQ(result.plan.budget(), kBudget);
    EXPECT_EQ(result.ranking.size(), static_cast<size_t>(kLayers));
    const bool measures = id != "uniform" && id != "random";
    EXPECT_EQ(result.tokens > 0, measures);
    EXPECT_EQ(result.forwards > 0, measures);
    EXPECT_EQ(result.flops > 0, measures);
    EXPECT_EQ(seen.empty(), !measures);
    for (const Progress& p : seen) EXPECT_LE(p.done, p.total) << p.what;
    if (measures) {
      EXPECT_EQ(seen.back().done, seen.back().total);
    }
    const nlohmann::json json = result.to_json();
    for (const char* key :
         {"method", "score", "ranking", "plan", "kept", "seed", "options", "evaluations", "tokens",
          "forwards", "backwards", "flops", "seconds", "detail"})
      EXPECT_TRUE(json.contains(key)) << key;
    EXPECT_EQ(LayerPlan::parse(json.at("plan").get<std::string>()), result.plan);
    // The same again gives the same.
    EXPECT_EQ(run(id).score, result.score);
  }
}

TEST_F(Selectors, StopsAndRefuses) {
  const StopFlag stop;
  stop.set();
  for (const auto& [id, sentence] : selector_methods()) {
    if (id == "uniform" || id == "random") continue;
    try {
      run_selector(id, input, {}, stop);
      ADD_FAILURE() << id;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::stopped) << id;
    }
  }
  try {
    run("best");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::bad_request);
    EXPECT_NE(error.hint().find("swap_nll"), std::string::npos);
  }
  input.budget = kLayers + 1;
  EXPECT_THROW(run("uniform"), Error);
  input.budget = -1;
  EXPECT_THROW(run("uniform"), Error);
  input.budget = kBudget;
  input.text = nullptr;
  EXPECT_THROW(run("swap_kl"), Error);
  EXPECT_THROW(run("halo"), Error);
  input.prompts.clear();
  for (const char* id :
       {"swap_nll", "local_mse", "greedy_add", "greedy_drop", "exact", "recall_drop"})
    EXPECT_THROW(run(id), Error);
  input.model = nullptr;
  EXPECT_THROW(run("uniform"), Error);
}

}  // namespace
}  // namespace flashmorph
