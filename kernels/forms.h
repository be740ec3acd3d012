// SPDX-License-Identifier: Apache-2.0
// Inside of the recurrences: the forms behind the public functions. Arguments are those of the
// public headers, checked.
#pragma once

#include <optional>

#include "kernels/shapes.h"

namespace flashmorph::kernels {

/// Gradients in the shapes and dtypes of the inputs; log_decay and beta where they were given (and
/// asked for).
struct RecurrenceGradients {
  at::Tensor q, k, v;
  std::optional<at::Tensor> log_decay, beta;
  at::Tensor state;  ///< dS_0: [B, H, K, V], float32 (float64 for float64 inputs)
};

using OptionalTensor = std::optional<at::Tensor>;

// Token loops in plain differentiable operations: the truth.
Recurrence scalar_decay_naive(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const OptionalTensor& log_decay, const OptionalTensor& beta,
                              double scale, const OptionalTensor& state);
Recurrence channel_decay_naive(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& log_decay, const OptionalTensor& beta,
                               double scale, const OptionalTensor& state);
Recurrence gated_delta_rule_naive(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const at::Tensor& log_decay, const at::Tensor& beta, double scale,
                                  const OptionalTensor& state);

// Chunk forms and their reverse mode, any device; they record nothing for autograd. d_state: dS_T,
// absent where unused.
Recurrence scalar_decay_chunk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const OptionalTensor& log_decay, const OptionalTensor& beta,
                              double scale, const OptionalTensor& state);
RecurrenceGradients scalar_decay_chunk_backward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const OptionalTensor& log_decay,
    const OptionalTensor& beta, double scale, const OptionalTensor& state,
    const at::Tensor& d_output, const OptionalTensor& d_state);
Recurrence channel_decay_chunk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& log_decay, const OptionalTensor& beta,
                               double scale, const OptionalTensor& state);
RecurrenceGradients channel_decay_chunk_backward(const at::Tensor& q, const at::Tensor& k,
                                                 const at::Tensor& v, const at::Tensor& log_decay,
                                                 const OptionalTensor& beta, double scale,
                                                 const OptionalTensor& state,
                                                 const at::Tensor& d_output,
                                                 const OptionalTensor& d_state);
Recurrence gated_delta_rule_chunk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const at::Tensor& log_decay, const at::Tensor& beta, double scale,
                                  const OptionalTensor& state);
RecurrenceGradients gated_delta_rule_chunk_backward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& log_decay,
    const at::Tensor& beta, double scale, const OptionalTensor& state, const at::Tensor& d_output,
    const OptionalTensor& d_state);

}  // namespace flashmorph::kernels
