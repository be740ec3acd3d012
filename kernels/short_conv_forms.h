// SPDX-License-Identifier: Apache-2.0
// Inside of short_conv: its forms.
#pragma once

#include "kernels/short_conv.h"

namespace flashmorph::kernels {

using OptionalTensor = std::optional<at::Tensor>;

struct ShortConvGradients {
  at::Tensor x, weight, bias, state;  ///< bias and state also where absent
};

/// One token after the other in plain differentiable operations: the truth.
ShortConv short_conv_naive(const at::Tensor& x, const at::Tensor& weight,
                           const OptionalTensor& bias, bool silu, const OptionalTensor& state);
/// All tokens at once, one tap after the other, any device; records nothing for autograd.
ShortConv short_conv_chunk(const at::Tensor& x, const at::Tensor& weight,
                           const OptionalTensor& bias, bool silu, const OptionalTensor& state);
ShortConvGradients short_conv_chunk_backward(const at::Tensor& x, const at::Tensor& weight,
                                             const OptionalTensor& bias, bool silu,
                                             const OptionalTensor& state,
                                             const OptionalTensor& d_output,
                                             const OptionalTensor& d_state);

}  // namespace flashmorph::kernels
