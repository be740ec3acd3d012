// SPDX-License-Identifier: Apache-2.0
// Softmax attention over the first and the last tokens: the window branch.
#pragma once

#include <cstdint>

#include "kernels/shapes.h"

namespace flashmorph::kernels {

/// Causal softmax attention in which a token sees only the first `sink` tokens and the last
/// `window`, itself included.
///
///   o_t = sum_j softmax_j(scale <q_t, k_j>) v_j      over j <= t with j < sink or j > t - window
///
/// q: [B, T, H, K], the last T of S tokens.  k: [B, S, G, K], S >= T, the whole cache; query head h
/// uses head h / (H/G). v: [B, S, G, V].  One dtype.  sink: at least 0, window: at least 1, both in
/// tokens.  scale: usually K^-1/2. Returns [B, T, H, V], dtype of v. Scores and sums are float32
/// (float64 for float64); memory grows with T, not with T S. Differentiable in q, k, v. Throws
/// c10::Error on a shape, dtype or device that does not fit. Source: method 2.2.
at::Tensor window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            int64_t sink, int64_t window, double scale,
                            Form form = Form::automatic);

}  // namespace flashmorph::kernels
