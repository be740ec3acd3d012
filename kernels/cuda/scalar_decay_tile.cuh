// SPDX-License-Identifier: Apache-2.0
// Chunks of 64 tokens in shared memory: their layout, how they get there, and what goes with them.
#pragma once

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/scalar_decay_args.h"

namespace flashmorph::kernels::cuda {

constexpr int kChunk = 64;
constexpr float kLog2e = 1.4426950408889634f;
constexpr uint32_t kPanel = kChunk * 128;  // a tile is panels of 64 columns: rows of 128 bytes

// 16-byte column `chunk` of row `row`, spread so that eight rows of one column lie in different
// banks
__device__ __forceinline__ uint32_t tile_offset(int row, int chunk) {
  return (chunk >> 3) * kPanel +
         static_cast<uint32_t>(row * 128 + (((chunk & 7) ^ (row & 7)) << 4));
}
// columns 16 k ... of a tile; add what the swizzle makes of them with ^
__device__ __forceinline__ constexpr uint32_t panel_offset(int k) {
  return static_cast<uint32_t>(k / 4) * kPanel + static_cast<uint32_t>(k % 4) * 32;
}

// `start`: the chunk's first row, the same for all threads
template <int D, int Threads>
__device__ __forceinline__ void load_tile(uint32_t shared, const uint16_t* start, int64_t stride,
                                          int valid, int thread) {
  constexpr int kColumns = D / 8, kRows = Threads / kColumns;  // kRows is a multiple of 8
  const int row0 = thread / kColumns, column = thread % kColumns;
  const uint32_t offset = static_cast<uint32_t>(row0) * static_cast<uint32_t>(stride) + column * 8;
  shared += tile_offset(row0, column);
  if (valid == kChunk) {
#pragma unroll
    for (int i = 0; i < kChunk / kRows; ++i) {
      copy_async(shared + i * kRows * 128, start + offset);
      start += kRows * stride;
    }
  } else {
#pragma unroll 1
    for (int i = 0; i < kChunk / kRows; ++i) {
      const bool inside = row0 + i * kRows < valid;
      copy_async_or_zero(shared + i * kRows * 128,
                         start + (inside ? i * kRows * stride + offset : 0), inside);
    }
  }
}

// Gates of a chunk, in shared memory; `b` is the log2 decay summed from the chunk's first token.
struct ChunkGates {
  const float* b;
  const float* beta;  // ones without beta
  bool with_beta;
  float log2_scale;
};

// Where the outputs of a chunk go.
struct ChunkOutput {
  uint16_t* to;
  int64_t stride;
  int valid;             // tokens of the chunk
  const uint16_t* with;  // when set, dots gets <out before beta, with>
  int64_t with_stride;
  float* dots;
};

}  // namespace flashmorph::kernels::cuda
