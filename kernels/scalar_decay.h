// SPDX-License-Identifier: Apache-2.0
// Linear attention with one decay per head: plain, lightning, simple (scalar GLA) and mamba2.
#pragma once

#include <optional>

#include "kernels/shapes.h"

namespace flashmorph::kernels {

/// Linear attention whose state forgets by one factor per head.
///
///   S_t = e^{log_decay_t} S_{t-1} + beta_t k_t v_t^T      o_t = scale S_t^T q_t
///
/// q, k: [B, T, H, K], one dtype.  v: [B, T, H, V], the same dtype.
/// log_decay: [H] fixed (lightning) or [B, T, H] per token (simple, mamba2), log space; absent: no
/// decay (plain). beta: [B, T, H], write weight; absent: 1. scale: factor of the output, usually
/// K^-1/2. state: S_0: [B, H, K, V]; absent: zero. Returns o and S_T. Differentiable in every
/// tensor, the state both ways. Throws c10::Error on a shape, dtype or device that does not fit.
/// Source: method 2.2 (rule), 2.4 (chunk form and its reverse mode).
Recurrence scalar_decay(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const std::optional<at::Tensor>& log_decay,
                        const std::optional<at::Tensor>& beta, double scale,
                        const std::optional<at::Tensor>& state = {}, Form form = Form::automatic);

}  // namespace flashmorph::kernels
