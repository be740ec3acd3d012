// SPDX-License-Identifier: Apache-2.0
// The layer-by-layer backward pass against autograd through the whole hybrid, and where a stop is
// seen.
#include "core/train/layer_pass.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "core/run/error.h"
#include "tests/support/tiny_model.h"

namespace flashmorph {
namespace {

double rms_ratio(const at::Tensor& got, const at::Tensor& wanted) {
  const at::Tensor a = got.to(at::kDouble), b = wanted.to(at::kDouble);
  return ((a - b).square().mean().sqrt() / (b.square().mean().sqrt() + 1e-30)).item<double>();
}

HeadLoss kl_of(const HybridModel& hybrid, const at::Tensor& reference, const at::Tensor& states,
               const at::Tensor& d_head) {
  HeadLossOptions options;
  options.scale = 0.01;
  options.d_head = d_head;
  const auto flat = [](const at::Tensor& x) { return x.reshape({-1, x.size(-1)}); };
  HeadLoss found = head_loss(flat(states), hybrid.model().teacher().head().detach(),
                             {flat(reference), hybrid.teacher().head(), {}}, options);
  found.d_states = found.d_states.view(states.sizes());
  return found;
}

TEST(LayerPass, AddsUpTheGradientsOfTheWholeGraph) {
  for (const bool tied : {true, false})
    for (const TrainPart part : {TrainPart::all, TrainPart::attention})
      for (const BranchKind kind : {BranchKind::lightning, BranchKind::gdn}) {
        TinyShape shape;
        shape.tied = tied;
        HybridModel hybrid(tiny_teacher(shape, 1, at::kDouble),
                           tiny_morph_model(shape, 1, kind, at::kDouble), LayerPlan::of(4, {1}),
                           part);
        hybrid.set_requires_grad(true);
        const at::Tensor ids = tiny_ids(2, 20);
        const at::Tensor reference = teacher_states(hybrid.teacher(), ids, {});
        // The truth: one graph, all logits at once. Its leaves are what the forward reads.
        std::vector<at::Tensor> leaves;
        for (const HybridTensor& one : hybrid.tensors())
          if (one.trains) leaves.push_back(one.used.defined() ? one.used : one.value);
        const at::Tensor states = hybrid.states(ids);
        const at::Tensor loss =
            head_loss_naive(states.view({40, -1}), hybrid.model().teacher().head(),
                            {reference.view({40, -1}), hybrid.teacher().head(), {}}, 0.01);
        const auto wanted = torch::autograd::grad({loss}, leaves);
        LayerPass pass(hybrid);
        ASSERT_EQ(pass.masters().size(), leaves.size());
        for (const bool checkpointing : {false, true}) {
          std::vector<at::Tensor> sums;
          for (const at::Tensor& one : pass.masters()) sums.push_back(at::ones_like(one));
          const at::Tensor found = pass.run(ids,
                                            [&](const at::Tensor& x, const at::Tensor& d_head) {
                                              return kl_of(hybrid, reference, x, d_head);
                                            },
                                            sums, checkpointing, {});
          EXPECT_NEAR(found.item<double>(), loss.item<double>(), 1e-13);
          for (size_t i = 0; i < sums.size(); ++i)
            EXPECT_LT(rms_ratio(sums[i] - 1, wanted[i]), 1e-10)
                << pass.names()[i] << (checkpointing ? ", checkpointing" : "");
        }
      }
}

TEST(LayerPass, CheckpointingChangesNoBit) {
  HybridModel hybrid(tiny_teacher(), tiny_morph_model(), LayerPlan::of(4, {2}), TrainPart::all);
  hybrid.set_requires_grad(true);
  const at::Tensor ids = tiny_ids(3, 33), reference = teacher_states(hybrid.teacher(), ids, {});
  LayerPass pass(hybrid);
  std::vector<std::vector<at::Tensor>> both;
  for (const bool checkpointing : {false, true}) {
    both.emplace_back();
    for (const at::Tensor& one : pass.masters()) both.back().push_back(at::zeros_like(one));
    pass.run(ids,
             [&](const at::Tensor& x, const at::Tensor& d_head) {
               return kl_of(hybrid, reference, x, d_head);
             },
             both.back(), checkpointing, {});
  }
  for (size_t i = 0; i < both[0].size(); ++i)
    EXPECT_TRUE(at::equal(both[0][i], both[1][i])) << pass.names()[i];
}

TEST(LayerPass, StatesAreThoseOfTheModel) {
  const HybridModel hybrid(tiny_teacher(), tiny_morph_model(), LayerPlan::of(4, {2}),
                           TrainPart::all);
  const at::Tensor ids = tiny_ids(3, 33);
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(at::equal(hybrid_states(hybrid, ids, {}), hybrid.states(ids)));
  EXPECT_TRUE(at::equal(teacher_states(hybrid.teacher(), ids, {}),
                        tiny_morph_model().states(ids, LayerPlan::all_full(4))));
}

TEST(LayerPass, AsksBeforeEveryLayerWhetherToStop) {
  HybridModel hybrid(tiny_teacher(), tiny_morph_model(), LayerPlan::of(4, {2}), TrainPart::all);
  hybrid.set_requires_grad(true);
  const at::Tensor ids = tiny_ids(1, 8), reference = teacher_states(hybrid.teacher(), ids, {});
  LayerPass pass(hybrid);
  std::vector<at::Tensor> sums;
  for (const at::Tensor& one : pass.masters()) sums.push_back(at::zeros_like(one));
  const auto loss = [&](const at::Tensor& x, const at::Tensor& d_head) {
    return kl_of(hybrid, reference, x, d_head);
  };
  int asked = 0;
  pass.run(ids, loss, sums, true, [&] { ++asked; });
  EXPECT_GE(asked, 2 * 4);
  for (int last = 1; last <= asked; ++last) {
    int count = 0;
    EXPECT_THROW(pass.run(ids, loss, sums, true,
                          [&] {
                            if (++count == last)
                              throw Error("distill", ErrorCode::stopped, "stopped");
                          }),
                 Error);
  }
}

}  // namespace
}  // namespace flashmorph
