// SPDX-License-Identifier: Apache-2.0
// Losses on final states with the head inside them: logits exist for a slice of rows at a time,
// forward and backward, so that vocabulary x length never exists at once.
#pragma once

#include <functional>

#include <ATen/ATen.h>

namespace flashmorph {

/// Called at every safe point of long work; throws Error(stopped) to end it. May be empty.
using StopCheck = std::function<void()>;

/// What the rows are compared with. KL when reference states are given, else cross-entropy with the
/// labels.
struct HeadTarget {
  at::Tensor reference;       ///< [n, D] compute dtype: final normed states of the teacher
  at::Tensor reference_head;  ///< [V, D] its head
  at::Tensor labels;          ///< [n] int64: next tokens
};

struct HeadLossOptions {
  double scale = 1;      ///< of the sum over rows; 1/n gives the token mean
  bool gradient = true;  ///< false: only the loss
  at::Tensor d_head;  ///< [V, D] float32 (float64 beside float64): the head's gradient is added to
                      ///< it; undefined: frozen
  int64_t slice_rows = 0;  ///< 0: head_slice_rows
  StopCheck check_stop;    ///< called between slices
};

struct HeadLoss {
  at::Tensor loss;      ///< [] float32 (float64 beside float64), nats
  at::Tensor d_states;  ///< [n, D] compute dtype: its gradient; undefined without `gradient`
};

/// Rows whose logits exist at once: 16 MiB of float32 logits on the CPU, 256 MiB on a GPU; at
/// least 16.
int64_t head_slice_rows(int64_t vocab, at::Device device);

/// scale * sum_i loss_i with z_i = W x_i, q_i = softmax(z_i), p_i = softmax(W_ref r_i):
///   KL  loss_i = sum_v p_iv (log p_iv - log q_iv)   dz_i = q_i - p_i      (forward KL, temperature
///   1; method 3.1) CE  loss_i = -log q_i[label_i]                  dz_i = q_i - onehot(label_i)
///   dx_i = scale W^T dz_i,  dW += scale sum_i dz_i x_i^T
/// states: [n, D] compute dtype; head: [V, D] compute dtype. Softmax, loss and dz in float32.
HeadLoss head_loss(const at::Tensor& states, const at::Tensor& head, const HeadTarget& target,
                   const HeadLossOptions& options);

/// The same as one differentiable expression with all logits at once: the truth. -> [] float32
/// (float64).
at::Tensor head_loss_naive(const at::Tensor& states, const at::Tensor& head,
                           const HeadTarget& target, double scale);

}  // namespace flashmorph
