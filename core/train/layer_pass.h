// SPDX-License-Identifier: Apache-2.0
// Forward and backward of a hybrid, one layer's graph at a time: gradients are added up as they
// come, activations go as soon as they are used, and a stop is seen between layers.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/model/hybrid_model.h"
#include "core/train/head_loss.h"

namespace flashmorph {

/// Final normed states of the unchanged teacher, without gradient. ids: [B, T] int64 -> [B, T, D].
/// check_stop is called before every layer.
at::Tensor teacher_states(const Teacher& teacher, const at::Tensor& ids,
                          const StopCheck& check_stop);
/// The same of a hybrid.
at::Tensor hybrid_states(const HybridModel& hybrid, const at::Tensor& ids,
                         const StopCheck& check_stop);

/// One layer of a hybrid: h = x + mixer(norm(x)); h + FFN(norm(h)). x: [B, T, D] -> [B, T, D].
at::Tensor hybrid_layer(const HybridModel& hybrid, int layer, const at::Tensor& x,
                        const RopeTable& rope);

/// The loss of the final states: states: [B, T, D] -> loss and its gradient [B, T, D]; the head's
/// gradient is added to d_head (undefined when the head is frozen).
using LossOfStates = std::function<HeadLoss(const at::Tensor& states, const at::Tensor& d_head)>;

class LayerPass {
 public:
  /// Borrows the hybrid, whose trainable tensors must require gradients (set_requires_grad).
  explicit LayerPass(HybridModel& hybrid);

  /// Masters of what trains, in the order of hybrid.tensors(): what the optimizer steps on.
  const std::vector<at::Tensor>& masters() const { return masters_; }
  const std::vector<std::string>& names() const { return names_; }

  /// Adds the gradient of one micro-batch to `sums` (one per master, its shape and dtype) and
  /// returns the loss. ids: [B, T] int64. checkpointing: keep only each layer's input, [B, T, D],
  /// and compute the layer again in the backward pass. check_stop is called before every layer;
  /// when it throws, sums are of no use.
  at::Tensor run(const at::Tensor& ids, const LossOfStates& loss,
                 const std::vector<at::Tensor>& sums, bool checkpointing,
                 const StopCheck& check_stop);

 private:
  struct Leaf {
    at::Tensor tensor;  // requires gradients
    size_t sum;         // index into masters_
  };
  // Gradient of `out` with respect to `in` (undefined unless wanted), those of the leaves are added
  // to sums.
  at::Tensor pull(const at::Tensor& out, const at::Tensor& d_out, const at::Tensor& in,
                  const std::vector<Leaf>& leaves, const std::vector<at::Tensor>& sums) const;

  HybridModel& hybrid_;
  std::vector<at::Tensor> masters_;
  std::vector<std::string> names_;
  std::vector<std::vector<Leaf>> layers_;
  std::vector<Leaf> norm_;
  int64_t embedding_ = -1, head_ = -1;  // index into masters_, -1: frozen; equal when tied
};

}  // namespace flashmorph
