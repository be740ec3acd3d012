// SPDX-License-Identifier: Apache-2.0
// The mix of a morphable layer's two branches.
#pragma once

#include <ATen/ATen.h>

namespace flashmorph::kernels {

/// Mixes the output of the full-attention branch with that of the linear branch.
///
///   y = alpha full + (1 - alpha) linear
///
/// alpha: [] any floating dtype, the gate itself, in [0, 1].
/// full, linear: one shape and dtype, any number of dimensions; the product is rounded once, from
/// float32. alpha = 1 gives `full` bit for bit and alpha = 0 gives `linear`, whatever the other
/// holds. Differentiable in all three; the gradient of alpha, <full - linear, dy>, is summed in
/// float32 or wider also where alpha is 0 or 1. Throws c10::Error when shapes, dtypes or devices
/// differ (alpha may be on the CPU). Source: method 2.1.
at::Tensor gate_mix(const at::Tensor& alpha, const at::Tensor& full, const at::Tensor& linear);

}  // namespace flashmorph::kernels
