// SPDX-License-Identifier: Apache-2.0
// Small float32 matrix products on rows in place: the BLAS inside LibTorch, without the cost of a
// tensor operation per call.
#pragma once

#include <cstdint>

namespace flashmorph::kernels {

/// Whether this LibTorch carries the BLAS function; where it does not, the batched forms are used.
bool has_gemm();

/// C = alpha op(A) op(B) + beta C, all row-major with row strides; op(A): [rows, inner], op(B):
/// [inner, columns]. With beta = 0 the old values of C are not read. Runs on the calling thread
/// when called from a parallel range.
void gemm(bool transpose_a, bool transpose_b, int64_t rows, int64_t columns, int64_t inner,
          float alpha, const float* A, int64_t stride_a, const float* B, int64_t stride_b,
          float beta, float* C, int64_t stride_c);

}  // namespace flashmorph::kernels
