// SPDX-License-Identifier: Apache-2.0
// L2 normalisation of queries and keys (gdn, kda).
#pragma once

#include <ATen/ATen.h>

namespace flashmorph::kernels {

/// Scales each row to length (almost) one.
///
///   y = x / sqrt(sum_d x_d^2 + eps)
///
/// x: [.., D], any floating dtype; computed in float32 (float64 for float64). Returns the dtype of
/// x. Differentiable. Throws c10::Error for a tensor without dimensions or of another dtype.
/// Source: method 2.2.
at::Tensor l2_normalize(const at::Tensor& x, double eps = 1e-6);

}  // namespace flashmorph::kernels
