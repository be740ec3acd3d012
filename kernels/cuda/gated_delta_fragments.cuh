// SPDX-License-Identifier: Apache-2.0
// Where the operands of a 16 x 16 block lie in shared memory, for tiles of panels 64 columns wide
// (scalar_decay_tile.cuh) and for narrow tiles of 32 or 64 columns.
#pragma once

#include "kernels/cuda/scalar_decay_tile.cuh"

namespace flashmorph::kernels::cuda {

// Gates of a chunk in device memory: log2 decays summed from its start, beta, e^sum, e^(total -
// sum)
constexpr int kGateFloats = 4 * kChunk;

// Addresses for load_matrix of the block at rows row0.., columns 16 block16.. of a tile:
//   left operand, stored [m][k]: load_matrix(rows_first); stored [k][m]: transposed(columns_first)
//   right operand, stored [n][k]: load_matrix(columns_first); stored [k][n]: transposed(rows_first)
__device__ __forceinline__ uint32_t rows_first(uint32_t tile, int row0, int block16, int lane) {
  return tile + (row0 + (lane & 15)) * 128 +
         (panel_offset(block16) ^ static_cast<uint32_t>(((lane >> 4) ^ (lane & 7)) << 4));
}
__device__ __forceinline__ uint32_t columns_first(uint32_t tile, int row0, int block16, int lane) {
  return tile + (row0 + (lane & 7) + ((lane >> 4) << 3)) * 128 +
         (panel_offset(block16) ^ static_cast<uint32_t>((((lane >> 3) & 1) ^ (lane & 7)) << 4));
}

// 16-byte column `chunk` of a narrow tile's row; eight rows of one column lie in different banks
template <int Columns>
__device__ __forceinline__ uint32_t narrow_offset(int row, int chunk) {
  return Columns == 64 ? static_cast<uint32_t>(row * 128 + ((chunk ^ (row & 7)) << 4))
                       : static_cast<uint32_t>(row * 64 + ((chunk ^ ((row >> 1) & 3)) << 4));
}
template <int Columns>
__device__ __forceinline__ uint32_t narrow_columns_first(uint32_t tile, int row0, int block16,
                                                         int lane) {
  return tile + narrow_offset<Columns>(row0 + (lane & 7) + ((lane >> 4) << 3),
                                       2 * block16 + ((lane >> 3) & 1));
}

// c[16 x 16] += a b
__device__ __forceinline__ void multiply_add_block(float (&c)[2][4], const uint32_t (&a)[4],
                                                   const uint32_t (&b)[4]) {
  multiply_add(c[0], a, b[0], b[1]);
  multiply_add(c[1], a, b[2], b[3]);
}

// A 16 x 16 block of sums as four words: columns 8 n.., rows 8 low.. in word 2 n + low: a left
// operand, and the order in which load_matrix and store_matrix at rows_first see the block.
__device__ __forceinline__ void pack_block(uint32_t (&words)[4], const float (&c)[2][4]) {
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int low = 0; low < 2; ++low)
      words[2 * n + low] = pack_bf16(c[n][2 * low], c[n][2 * low + 1]);
}
__device__ __forceinline__ void scale_rows(float (&c)[2][4], float low, float high) {
#pragma unroll
  for (int n = 0; n < 2; ++n) {
    c[n][0] *= low;
    c[n][1] *= low;
    c[n][2] *= high;
    c[n][3] *= high;
  }
}

}  // namespace flashmorph::kernels::cuda
