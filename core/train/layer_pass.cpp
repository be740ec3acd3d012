// SPDX-License-Identifier: Apache-2.0
#include "core/train/layer_pass.h"

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

namespace flashmorph {

namespace {

void call(const StopCheck& check_stop) {
  if (check_stop) check_stop();
}

}  // namespace

at::Tensor teacher_states(const Teacher& teacher, const at::Tensor& ids,
                          const StopCheck& check_stop) {
  const at::NoGradGuard no_grad;
  const RopeTable rope = teacher.rope_table(0, ids.size(1));
  at::Tensor x = teacher.embed(ids);
  for (int l = 0; l < teacher.layers(); ++l) {
    call(check_stop);
    x = x + teacher.attention(l, teacher.input_norm(l, x), rope);
    x = x + teacher.mlp(l, x);
  }
  return teacher.final_norm(x);
}

at::Tensor hybrid_states(const HybridModel& hybrid, const at::Tensor& ids,
                         const StopCheck& check_stop) {
  const at::NoGradGuard no_grad;
  const Teacher& weights = hybrid.model().teacher();
  const RopeTable rope = weights.rope_table(0, ids.size(1));
  at::Tensor x = weights.embed(ids);
  for (int l = 0; l < hybrid.layers(); ++l) {
    call(check_stop);
    x = hybrid_layer(hybrid, l, x, rope);
  }
  return weights.final_norm(x);
}

LayerPass::LayerPass(HybridModel& hybrid)
    : hybrid_(hybrid), layers_(static_cast<size_t>(hybrid.layers())) {
  for (const HybridTensor& one : hybrid.tensors()) {
    if (!one.trains) continue;
    const Leaf leaf{one.used.defined() ? one.used : one.value, masters_.size()};
    masters_.push_back(one.value);
    names_.push_back(one.name);
    if (one.layer >= 0)
      layers_[static_cast<size_t>(one.layer)].push_back(leaf);
    else if (one.name == "model.norm.weight")
      norm_.push_back(leaf);
    else if (one.name == "lm_head.weight")
      head_ = static_cast<int64_t>(leaf.sum);
    else
      embedding_ = static_cast<int64_t>(leaf.sum);
  }
  if (hybrid.config().tied) head_ = embedding_;
}

at::Tensor hybrid_layer(const HybridModel& hybrid, int layer, const at::Tensor& x,
                        const RopeTable& rope) {
  const Teacher& weights = hybrid.model().teacher();
  const at::Tensor h =
      x + hybrid.model().mixer(layer, weights.input_norm(layer, x), rope, hybrid.plan(), nullptr);
  return h + weights.mlp(layer, h);
}

at::Tensor LayerPass::pull(const at::Tensor& out, const at::Tensor& d_out, const at::Tensor& in,
                           const std::vector<Leaf>& leaves,
                           const std::vector<at::Tensor>& sums) const {
  std::vector<at::Tensor> wanted;
  for (const Leaf& leaf : leaves) wanted.push_back(leaf.tensor);
  if (in.requires_grad()) wanted.push_back(in);
  if (wanted.empty()) return {};
  std::vector<at::Tensor> found =
      torch::autograd::grad({out}, wanted, {d_out}, /*retain_graph=*/std::nullopt,
                            /*create_graph=*/false, /*allow_unused=*/true);
  const at::NoGradGuard no_grad;
  for (size_t i = 0; i < leaves.size(); ++i) {
    at::Tensor sum = sums[leaves[i].sum];
    if (found[i].defined()) sum.add_(found[i]);
    found[i].reset();
  }
  return in.requires_grad() ? found.back() : at::Tensor();
}

at::Tensor LayerPass::run(const at::Tensor& ids, const LossOfStates& loss,
                          const std::vector<at::Tensor>& sums, bool checkpointing,
                          const StopCheck& check_stop) {
  const Teacher& weights = hybrid_.model().teacher();
  const auto L = static_cast<size_t>(hybrid_.layers());
  const RopeTable rope = weights.rope_table(0, ids.size(1));
  // Below the first layer nothing needs its gradient when the embedding is frozen.
  const auto leaf = [&](const at::Tensor& x, size_t l) {
    return x.detach().requires_grad_(l > 0 || embedding_ >= 0);
  };
  std::vector<at::Tensor> in(L), out(L);
  at::Tensor x;
  {
    const at::NoGradGuard no_grad;
    x = weights.embed(ids);
  }
  for (size_t l = 0; l < L; ++l) {
    call(check_stop);
    in[l] = leaf(x, l);
    const at::AutoGradMode graph(!checkpointing);
    const at::Tensor y = hybrid_layer(hybrid_, static_cast<int>(l), in[l], rope);
    if (!checkpointing) out[l] = y;
    x = y.detach();
  }
  call(check_stop);
  const at::AutoGradMode graph(true);
  const at::Tensor last = leaf(x, L);
  x.reset();
  at::Tensor states = weights.final_norm(last);
  HeadLoss head =
      loss(states.detach(), head_ >= 0 ? sums[static_cast<size_t>(head_)] : at::Tensor());
  at::Tensor d = pull(states, head.d_states, last, norm_, sums);
  states.reset();
  head.d_states.reset();
  for (size_t l = L; l-- > 0;) {
    call(check_stop);
    at::Tensor y =
        checkpointing ? hybrid_layer(hybrid_, static_cast<int>(l), in[l], rope) : std::move(out[l]);
    d = pull(y, d, in[l], layers_[l], sums);
    y.reset();
    in[l].reset();
    out[l].reset();
  }
  if (embedding_ >= 0) {
    const at::NoGradGuard no_grad;
    at::Tensor sum = sums[static_cast<size_t>(embedding_)];
    sum.index_add_(0, ids.reshape(-1), d.reshape({-1, d.size(-1)}).to(sum.scalar_type()));
  }
  return head.loss;
}

}  // namespace flashmorph
