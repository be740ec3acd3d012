// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.h"

#include <c10/util/Exception.h>

#ifdef FLASHMORPH_SGEMM
extern "C" void sgemm_(const char* transa, const char* transb, const int* m, const int* n,
                       const int* k, const float* alpha, const float* a, const int* lda,
                       const float* b, const int* ldb, const float* beta, float* c, const int* ldc);
#endif

namespace flashmorph::kernels {

#ifdef FLASHMORPH_SGEMM
bool has_gemm() { return true; }

// BLAS is column-major: it sees the transposes, and C^T = B^T A^T.
void gemm(bool transpose_a, bool transpose_b, int64_t rows, int64_t columns, int64_t inner,
          float alpha, const float* A, int64_t stride_a, const float* B, int64_t stride_b,
          float beta, float* C, int64_t stride_c) {
  const char ta = transpose_b ? 'T' : 'N', tb = transpose_a ? 'T' : 'N';
  const int m = static_cast<int>(columns), n = static_cast<int>(rows), k = static_cast<int>(inner);
  const int lda = static_cast<int>(stride_b), ldb = static_cast<int>(stride_a),
            ldc = static_cast<int>(stride_c);
  sgemm_(&ta, &tb, &m, &n, &k, &alpha, B, &lda, A, &ldb, &beta, C, &ldc);
}
#else
bool has_gemm() { return false; }

void gemm(bool, bool, int64_t, int64_t, int64_t, float, const float*, int64_t, const float*,
          int64_t, float, float*, int64_t) {
  TORCH_INTERNAL_ASSERT(false, "built without a BLAS");
}
#endif

}  // namespace flashmorph::kernels
