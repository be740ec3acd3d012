// SPDX-License-Identifier: Apache-2.0
// The gated delta rule: gdn (one decay per head) and kda (one per key channel).
#pragma once

#include <optional>

#include "kernels/shapes.h"

namespace flashmorph::kernels {

/// Linear attention that overwrites: what the state already returns for k_t is taken off v_t before
/// the write.
///
///   P = e^{log_decay_t} S_{t-1}     S_t = P + beta_t k_t (v_t - P^T k_t)^T     o_t = scale S_t^T
///   q_t
///
/// q, k: [B, T, H, K], one dtype; k of length at most 1 when beta goes up to 2 (l2_normalize), else
/// the state explodes. v: [B, T, H, V], the same dtype. log_decay: [B, T, H] per head (gdn) or [B,
/// T, H, K] per key channel (kda), log space. beta: [B, T, H], write weight in [0, 2]. scale:
/// factor of the output, usually K^-1/2.  state: S_0: [B, H, K, V]; absent: zero. Returns o and
/// S_T. Differentiable in every tensor, the state both ways. Throws c10::Error on a shape, dtype or
/// device that does not fit. Source: method 2.2 (rule), 2.4 (chunk form); the triangular solve runs
/// in float32 or float64.
Recurrence gated_delta_rule(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& log_decay, const at::Tensor& beta, double scale,
                            const std::optional<at::Tensor>& state = {},
                            Form form = Form::automatic);

}  // namespace flashmorph::kernels
