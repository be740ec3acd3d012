// SPDX-License-Identifier: Apache-2.0
// RMSNorm as the Llama family computes it.
#pragma once

#include <ATen/ATen.h>

namespace flashmorph::kernels {

/// Root-mean-square normalisation over the last dimension.
///
///   y = weight * cast(x * rsqrt(mean_d x_d^2 + eps))     cast: back to the dtype of x, before the
///   weight
///
/// x: [.., D], any floating dtype; mean and product in float32 (float64 for float64).  weight: [D],
/// any floating dtype. eps: added to the mean square.  Returns the shape and dtype of x.
/// Differentiable in both. Throws c10::Error on a weight that does not fit. The order of the casts
/// is that of LlamaRMSNorm.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps);

}  // namespace flashmorph::kernels
