// SPDX-License-Identifier: Apache-2.0
// The causal short convolution that some branches put on q, k and v.
#pragma once

#include <optional>

#include "kernels/shapes.h"

namespace flashmorph::kernels {

/// Output of short_conv and the inputs the next call needs.
struct ShortConv {
  at::Tensor output;  ///< [B, T, D], dtype of x
  at::Tensor state;   ///< [B, D, W-1], the last W-1 inputs, oldest first, dtype of x
};

/// Causal depthwise convolution over the tokens, then SiLU if wanted.
///
///   p_t = bias + sum_w weight_w * x_{t-W+1+w}      y_t = silu ? p_t sigmoid(p_t) : p_t
///
/// x: [B, T, D], any floating dtype.  weight: [D, W], the last tap meets the current token.  bias:
/// [D]; absent: 0. state: [B, D, W-1], the inputs before the first token, oldest first; absent:
/// zero. Sums are float32 (float64 for float64). Differentiable in every tensor, the state both
/// ways. Throws c10::Error on a shape, dtype or device that does not fit. Source: method 2.2,
/// "causal depthwise conv".
ShortConv short_conv(const at::Tensor& x, const at::Tensor& weight,
                     const std::optional<at::Tensor>& bias, bool silu,
                     const std::optional<at::Tensor>& state = {}, Form form = Form::automatic);

}  // namespace flashmorph::kernels
