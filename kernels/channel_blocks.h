// SPDX-License-Identifier: Apache-2.0
// Inside of ChunkDecay: the pairs of tokens within one sub-chunk under a decay per key channel, on
// the CPU in float32.
#pragma once

#include <ATen/ATen.h>

namespace flashmorph::kernels {

// Tensors are contiguous float32 on the CPU: A, B, decay [.., C, K], G [.., C, C] with equal
// leading sizes; C is a multiple of `sub`. decay: e^{log_decay} of each token, so that E_ijd, the
// product over (j, i], never needs an exponential. Only pairs i >= j of the same sub-chunk take
// part.

/// out_ij = sum_d A_id B_jd E_ijd
void block_dot(const at::Tensor& decay, const at::Tensor& A, const at::Tensor& B, int64_t sub,
               at::Tensor& out);
/// out_id += sum_j G_ij B_jd E_ijd
void block_rows(const at::Tensor& decay, const at::Tensor& G, const at::Tensor& B, int64_t sub,
                at::Tensor& out);
/// out_jd += sum_i G_ij A_id E_ijd
void block_columns(const at::Tensor& decay, const at::Tensor& G, const at::Tensor& A, int64_t sub,
                   at::Tensor& out);

}  // namespace flashmorph::kernels
