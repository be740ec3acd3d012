// SPDX-License-Identifier: Apache-2.0
// Inside of scalar_decay: the fast CPU form. Same arguments and results as the chunk form
// (forms.h).
#pragma once

#include "kernels/forms.h"

namespace flashmorph::kernels {

/// CPU tensors, not float64, and a LibTorch that carries a BLAS.
bool scalar_decay_fused_fits(const at::Tensor& q);

Recurrence scalar_decay_fused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const OptionalTensor& log_decay, const OptionalTensor& beta,
                              double scale, const OptionalTensor& state);
RecurrenceGradients scalar_decay_fused_backward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const OptionalTensor& log_decay,
    const OptionalTensor& beta, double scale, const OptionalTensor& state,
    const at::Tensor& d_output, const OptionalTensor& d_state);

}  // namespace flashmorph::kernels
