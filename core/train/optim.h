// SPDX-License-Identifier: Apache-2.0
// What the optimizers of both stages share: AdamW over a list of tensors, gradient clipping,
// learning rate shapes.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

namespace flashmorph {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;  ///< decoupled: p <- p (1 - lr weight_decay) before the update
};

/// AdamW (arXiv 1711.05101) with bias correction, t = 1, 2, ...:
///   m <- beta1 m + (1 - beta1) g;  v <- beta2 v + (1 - beta2) g^2
///   p <- p (1 - lr wd) - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
/// LibTorch's fused kernel does it in one pass over memory. Parameters are float32, updated in
/// place.
class AdamW {
 public:
  AdamW(std::vector<at::Tensor> parameters, AdamWOptions options);

  /// One update. gradients: one per parameter, same shape and dtype.
  void step(const std::vector<at::Tensor>& gradients, double lr);
  int64_t steps() const { return steps_; }
  /// After the moments were filled in place by somebody else.
  void set_steps(int64_t steps) { steps_ = steps; }

  /// What a continued run needs beside the parameters, in the order of the parameters.
  const std::vector<at::Tensor>& first_moments() const { return first_; }
  const std::vector<at::Tensor>& second_moments() const { return second_; }
  /// Takes over (copies) the moments after `steps` updates. Shapes must agree; throws
  /// Error(bad_file).
  void restore(const std::vector<at::Tensor>& first, const std::vector<at::Tensor>& second,
               int64_t steps);

 private:
  std::vector<at::Tensor> parameters_, first_, second_, counters_;
  AdamWOptions options_;
  int64_t steps_ = 0;
};

/// Euclidean norm of each tensor of a list. -> [n] float32 on their device.
at::Tensor gradient_norms(const std::vector<at::Tensor>& gradients);
/// Scales the gradients in place so that their common norm is at most `limit`; norm: the one they
/// have.
void scale_gradients(const std::vector<at::Tensor>& gradients, double norm, double limit);

/// Cosine from lr to lr_final over `steps`, after `warmup` linear steps. step: 0-based.
///   step < warmup: lr (step + 1) / warmup;  else lr_final + (lr - lr_final)(1 + cos(pi (step -
///   warmup) / (steps - warmup))) / 2
double cosine_rate(int64_t step, int64_t steps, int64_t warmup, double lr, double lr_final);

/// Trapezoid lr min(1, max((step + 1)/(S/5), r), max((S - step)/(S/5), r)), r = lr_final / lr
/// (method 3.2). step: 0-based.
double trapezoid_rate(int64_t step, int64_t steps, double lr, double lr_final);

}  // namespace flashmorph
