// SPDX-License-Identifier: Apache-2.0
#include "kernels/channel_blocks.h"

#include <vector>

#include "kernels/parallel.h"
#include "kernels/rows.h"

namespace flashmorph::kernels {
namespace {

// Calls work(first row of the sub-chunk among all rows, its chunk, its first token in the chunk)
// for every sub-chunk.
template <typename Work>
void for_each_block(const at::Tensor& decay, int64_t sub, const Work& work) {
  const int64_t C = decay.size(-2), K = decay.size(-1), per_chunk = C / sub;
  const int64_t blocks = decay.numel() / (K * sub);
  parallel_ranges(blocks, 4, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(K));
    for (int64_t block = begin; block < end; ++block)
      work(block * sub, block / per_chunk, block % per_chunk * sub, row.data());
  });
}

}  // namespace

void block_dot(const at::Tensor& decay, const at::Tensor& A, const at::Tensor& B, int64_t sub,
               at::Tensor& out) {
  const int64_t C = decay.size(-2), K = decay.size(-1);
  const float *factors = decay.const_data_ptr<float>(), *left = A.const_data_ptr<float>(),
              *right = B.const_data_ptr<float>();
  float* pairs = out.mutable_data_ptr<float>();
  for_each_block(decay, sub, [=](int64_t row, int64_t chunk, int64_t first, float* decayed) {
    for (int64_t j = 0; j < sub; ++j) {
      std::copy(right + (row + j) * K, right + (row + j + 1) * K, decayed);
      for (int64_t i = j; i < sub; ++i) {
        const float *a = factors + (row + i) * K, *query = left + (row + i) * K;
        if (i > j)
          for (int64_t d = 0; d < K; ++d) decayed[d] *= a[d];
        pairs[(chunk * C + first + i) * C + first + j] =
            sum_lanes<float>(K, [=](int64_t d) { return query[d] * decayed[d]; });
      }
    }
  });
}

void block_rows(const at::Tensor& decay, const at::Tensor& G, const at::Tensor& B, int64_t sub,
                at::Tensor& out) {
  const int64_t C = decay.size(-2), K = decay.size(-1);
  const float *factors = decay.const_data_ptr<float>(), *pairs = G.const_data_ptr<float>(),
              *right = B.const_data_ptr<float>();
  float* sums = out.mutable_data_ptr<float>();
  for_each_block(decay, sub, [=](int64_t row, int64_t chunk, int64_t first, float* decayed) {
    for (int64_t j = 0; j < sub; ++j) {
      std::copy(right + (row + j) * K, right + (row + j + 1) * K, decayed);
      for (int64_t i = j; i < sub; ++i) {
        const float* a = factors + (row + i) * K;
        float* sum = sums + (row + i) * K;
        const float weight = pairs[(chunk * C + first + i) * C + first + j];
        if (i > j)
          for (int64_t d = 0; d < K; ++d) decayed[d] *= a[d];
        for (int64_t d = 0; d < K; ++d) sum[d] += weight * decayed[d];
      }
    }
  });
}

void block_columns(const at::Tensor& decay, const at::Tensor& G, const at::Tensor& A, int64_t sub,
                   at::Tensor& out) {
  const int64_t C = decay.size(-2), K = decay.size(-1);
  const float *factors = decay.const_data_ptr<float>(), *pairs = G.const_data_ptr<float>(),
              *left = A.const_data_ptr<float>();
  float* sums = out.mutable_data_ptr<float>();
  for_each_block(decay, sub, [=](int64_t row, int64_t chunk, int64_t first, float* total) {
    for (int64_t j = 0; j < sub; ++j) {
      std::fill(total, total + K, 0.0F);
      for (int64_t i = sub - 1; i >= j; --i) {  // total = total a_{i+1} + G_ij A_i
        const float* query = left + (row + i) * K;
        const float weight = pairs[(chunk * C + first + i) * C + first + j];
        if (i + 1 < sub) {
          const float* a = factors + (row + i + 1) * K;
          for (int64_t d = 0; d < K; ++d) total[d] *= a[d];
        }
        for (int64_t d = 0; d < K; ++d) total[d] += weight * query[d];
      }
      float* sum = sums + (row + j) * K;
      for (int64_t d = 0; d < K; ++d) sum[d] += total[d];
    }
  });
}

}  // namespace flashmorph::kernels
