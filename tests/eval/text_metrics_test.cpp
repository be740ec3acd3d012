// SPDX-License-Identifier: Apache-2.0
#include "core/eval/text_metrics.h"

#include <gtest/gtest.h>

#include "core/run/error.h"
#include "tests/support/tiny_model.h"

namespace flashmorph {
namespace {

// All logits of all positions in float64.
TextMetrics plain(const MorphModel& model, const LayerPlan& plan, const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  const int64_t T = ids.size(1);
  const auto log_probabilities = [&](const LayerPlan& of) {
    return at::log_softmax(model.teacher().logits(model.states(ids, of)).to(at::kDouble), -1)
        .narrow(1, 0, T - 1);
  };
  const at::Tensor p = log_probabilities(LayerPlan::all_full(model.layers())),
                   q = log_probabilities(plan);
  TextMetrics result;
  result.nll_nats = -q.gather(2, ids.narrow(1, 1, T - 1).unsqueeze(2)).mean().item<double>();
  result.kl_nats = (p.exp() * (p - q)).sum(-1).mean().item<double>();
  result.perplexity = std::exp(result.nll_nats);
  result.tokens = ids.size(0) * (T - 1);
  return result;
}

TEST(TextMetrics, EqualsAllLogitsAtOnce) {
  const MorphModel model = tiny_morph_model();
  const at::Tensor ids = tiny_ids(60, 307);  // more tokens than a batch holds
  const TextProbe probe(model, ids);
  EXPECT_EQ(probe.tokens(), 60 * 307);
  const std::vector<LayerPlan> plans = {LayerPlan::of(4, {1}), LayerPlan::all_full(4),
                                        LayerPlan::all_linear(4)};
  const auto first = probe.metrics(plans), again = probe.metrics(plans);
  for (size_t p = 0; p < plans.size(); ++p) {
    const TextMetrics expected = plain(model, plans[p], ids);
    EXPECT_NEAR(first[p].nll_nats, expected.nll_nats, 1e-6);  // measured 3e-8
    EXPECT_NEAR(first[p].kl_nats, expected.kl_nats, 1e-6);    // measured 6e-8
    EXPECT_NEAR(first[p].perplexity, expected.perplexity, 1e-5 * expected.perplexity);
    EXPECT_EQ(first[p].tokens, expected.tokens);
    EXPECT_EQ(first[p].kl_nats, again[p].kl_nats) << "the kept teacher states change nothing";
  }
  EXPECT_EQ(first[1].kl_nats, 0.0) << "the teacher is itself";
  EXPECT_GT(first[0].kl_nats, 1e-3);
}

TEST(TextMetrics, TeacherRunsOnce) {
  const MorphModel model = tiny_morph_model();
  const TextProbe probe(model, tiny_ids(2, 50));
  SweepCost first, second;
  probe.metrics({LayerPlan::all_linear(4)}, &first);
  probe.metrics({LayerPlan::all_linear(4)}, &second);
  EXPECT_EQ(first.layer_passes, 8);
  EXPECT_EQ(second.layer_passes, 4);
}

TEST(TextMetrics, RefusesShortTextAndStops) {
  const MorphModel model = tiny_morph_model();
  EXPECT_THROW(TextProbe(model, tiny_ids(3, 1)), Error);
  const StopFlag stop;
  stop.set();
  EXPECT_THROW(
      TextProbe(model, tiny_ids(3, 9)).metrics({LayerPlan::all_linear(4)}, nullptr, {}, &stop),
      Error);
}

}  // namespace
}  // namespace flashmorph
