// SPDX-License-Identifier: Apache-2.0
// Inside of window_attention: its forms.
#pragma once

#include <tuple>

#include <ATen/ATen.h>

namespace flashmorph::kernels {

/// One token after the other in plain differentiable operations: the truth.
at::Tensor window_attention_naive(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  int64_t sink, int64_t window, double scale);
/// Blocks of queries, any device; records nothing for autograd.
at::Tensor window_attention_chunk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  int64_t sink, int64_t window, double scale);
/// dq, dk, dv; the probabilities are computed anew.
std::tuple<at::Tensor, at::Tensor, at::Tensor> window_attention_chunk_backward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t sink, int64_t window,
    double scale, const at::Tensor& d_output);

}  // namespace flashmorph::kernels
