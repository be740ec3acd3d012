// SPDX-License-Identifier: Apache-2.0
// What a chunk of the gated delta rule needs before its entry state is known: the gates per head,
// T = decays * (I + stril(beta K K^T))^-1 and P = scale * decays * tril(Q K^T).
#pragma once

#include "kernels/cuda/gated_delta_fragments.cuh"

namespace flashmorph::kernels::cuda {

struct DeltaPrepare {
  View query, key;
  View log_decay, beta;  // [B, T, H] fp32
  float* gates;          // [B H][chunks][kGateFloats]
  uint16_t* solve;       // T: [B H][chunks][64][64] bf16
  uint16_t* pairs;       // P: the same
  float log2_scale;
  int tokens, heads, chunks;
};

constexpr int kSolveStride = 72;  // floats: rows of the triangle in different banks

// The finished P lies over the keys and T over the queries, once those are used up; the square
// 32 x 32 blocks of the inversion behind them, where there is room.
template <int D>
struct DeltaPrepareLayout {
  static constexpr int kTile = kChunk * D * 2, kPair = kChunk * kChunk * 2, kSquare = 32 * 32 * 4;
  static constexpr int kQueryAt = kTile, kTriangleAt = 2 * kTile;
  static constexpr int kFreeAt = kTriangleAt + kChunk * kSolveStride * 4;
  static constexpr bool kRoom = kTile >= kPair + 2 * kSquare;
  static constexpr int kUpperAt = kRoom ? kQueryAt + kPair : kFreeAt;
  static constexpr int kLowerAt = kUpperAt + kSquare;
  static constexpr int kBetweenAt = kRoom ? kPair : kLowerAt + kSquare;
  static constexpr int kGatesAt = kRoom ? kFreeAt : kBetweenAt + kSquare;
  static constexpr int kBytes = kGatesAt + 2 * kChunk * 4;
};

// x <- (I + L)^-1 x for the 32 x 32 block L of the triangle at row and column `base`; `triangle`
// holds column after column
__device__ __forceinline__ void solve_block(float (&x)[32], const float* triangle, int base) {
#pragma unroll
  for (int j = 0; j < 31; ++j) {
    const float* column = triangle + (base + j) * kSolveStride + base;
#pragma unroll
    for (int i4 = (j + 1) / 4 * 4; i4 < 32; i4 += 4) {
      const float4 l = *reinterpret_cast<const float4*>(column + i4);
      if (i4 > j) x[i4] -= l.x * x[j];
      if (i4 + 1 > j) x[i4 + 1] -= l.y * x[j];
      if (i4 + 2 > j) x[i4 + 2] -= l.z * x[j];
      if (i4 + 3 > j) x[i4 + 3] -= l.w * x[j];
    }
  }
}

// grid (B H, chunks), 128 threads
template <int D>
__global__ void __launch_bounds__(128)
    delta_prepare_kernel(const __grid_constant__ DeltaPrepare p) {
  using Layout = DeltaPrepareLayout<D>;
  unsigned char* memory = shared_memory();
  const uint32_t base = shared_address(memory);
  const uint32_t key = base, query = base + Layout::kQueryAt;
  unsigned char* pairs = memory;
  unsigned char* solve = memory + Layout::kQueryAt;
  auto* triangle = reinterpret_cast<float*>(memory + Layout::kTriangleAt);
  auto* between = reinterpret_cast<float*>(memory + Layout::kBetweenAt);
  auto* b = reinterpret_cast<float*>(memory + Layout::kGatesAt);
  float* beta = b + kChunk;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int batch_head = static_cast<int>(blockIdx.x), chunk = static_cast<int>(blockIdx.y);
  const int batch = batch_head / p.heads, head = batch_head % p.heads;
  const int64_t token0 = static_cast<int64_t>(chunk) * kChunk;
  const int valid = min(kChunk, p.tokens - chunk * kChunk);
  auto start = [&](const View& view) {
    return static_cast<const uint16_t*>(view.data) + batch * view.batch + head * view.head +
           token0 * view.token;
  };
  load_tile<D, 128>(key, start(p.key), p.key.token, valid, thread);
  load_tile<D, 128>(query, start(p.query), p.query.token, valid, thread);
  copy_commit();
  if (warp == 0) {
    float g[2] = {0.f, 0.f}, write[2] = {0.f, 0.f};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = 2 * lane + i;
      if (row < valid) {
        g[i] = kLog2e * static_cast<const float*>(
                            p.log_decay.data)[batch * p.log_decay.batch + head * p.log_decay.head +
                                              (token0 + row) * p.log_decay.token];
        write[i] = static_cast<const float*>(
            p.beta.data)[batch * p.beta.batch + head * p.beta.head + (token0 + row) * p.beta.token];
      }
    }
    float sum = g[0] + g[1];
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const float other = __shfl_up_sync(0xffffffffu, sum, distance);
      if (lane >= distance) sum += other;
    }
    const float total = __shfl_sync(0xffffffffu, sum, 31);
    const float2 both = make_float2(sum - g[1], sum), writes = make_float2(write[0], write[1]);
    *reinterpret_cast<float2*>(b + 2 * lane) = both;
    *reinterpret_cast<float2*>(beta + 2 * lane) = writes;
    auto* to = reinterpret_cast<float2*>(
        p.gates + (static_cast<int64_t>(batch_head) * p.chunks + chunk) * kGateFloats);
    to[lane] = both;
    to[32 + lane] = writes;
    to[64 + lane] = make_float2(exp2_fast(both.x), exp2_fast(both.y));
    to[96 + lane] = make_float2(exp2_fast(total - both.x), exp2_fast(total - both.y));
  }
  copy_wait<0>();
  __syncthreads();

  // Five blocks of 16 x 16 a warp: of K K^T row `warp` from the diagonal on, of Q K^T row `warp` up
  // to the diagonal.
  const int upper = 4 - warp, row0 = warp * 16;
  float sum[5][2][4] = {};
#pragma unroll 2
  for (int k = 0; k < D / 16; ++k) {
    uint32_t a_key[4], a_query[4];
    load_matrix(a_key, rows_first(key, row0, k, lane));
    load_matrix(a_query, rows_first(query, row0, k, lane));
#pragma unroll
    for (int t = 0; t < 5; ++t) {
      uint32_t c[4];
      load_matrix(c, columns_first(key, (t < upper ? warp + t : t - upper) * 16, k, lane));
      if (t < upper)
        multiply_add_block(sum[t], a_key, c);
      else
        multiply_add_block(sum[t], a_query, c);
    }
  }
  __syncthreads();
  const int quad = lane / 4, c2 = 2 * (lane & 3);
#pragma unroll
  for (int t = 0; t < 5; ++t) {
    const int block = t < upper ? warp + t : t - upper;
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int column = block * 16 + n * 8 + c2;
#pragma unroll
      for (int low = 0; low < 2; ++low) {
        const int row = row0 + quad + 8 * low;
        float w0 = sum[t][n][2 * low], w1 = sum[t][n][2 * low + 1];
        if (t < upper) {  // K K^T is symmetric: this is column `row` of the lower triangle
          *reinterpret_cast<float2*>(triangle + row * kSolveStride + column) =
              make_float2(beta[column] * w0, beta[column + 1] * w1);
        } else {
          const float b_i = b[row] + p.log2_scale;
          w0 = column <= row ? w0 * exp2_fast(b_i - b[column]) : 0.f;
          w1 = column + 1 <= row ? w1 * exp2_fast(b_i - b[column + 1]) : 0.f;
          *reinterpret_cast<uint32_t*>(pairs + tile_offset(row, column / 8) + c2 * 2) =
              pack_bf16(w0, w1);
        }
      }
    }
  }
  for (int block = warp + 1; block < 4; ++block)  // nothing beyond the triangle
    *reinterpret_cast<uint4*>(pairs + tile_offset(row0 + lane / 2, block * 2 + lane % 2)) =
        make_uint4(0, 0, 0, 0);
  __syncthreads();

  auto copy_out = [&](uint16_t* to, const unsigned char* from, int first, int threads) {
    to += (static_cast<int64_t>(batch_head) * p.chunks + chunk) * (kChunk * kChunk);
    for (int i = first; i < kChunk * 8; i += threads)
      *reinterpret_cast<uint4*>(to + i * 8) =
          *reinterpret_cast<const uint4*>(from + tile_offset(i / 8, i % 8));
  };
  // The inverse of [L0 0; B L1] is [A0 0; -A1 B A0, A1]: two warps invert the diagonal blocks, a
  // lane a column, then all multiply, a warp eight rows.
  auto put = [&](int row, int column, float x) {
    const float w = row >= column ? x * exp2_fast(b[row] - b[column]) : 0.f;
    *reinterpret_cast<uint16_t*>(solve + tile_offset(row, column / 8) + column % 8 * 2) =
        static_cast<uint16_t>(pack_bf16(w, 0.f));
  };
  auto* upper_block = reinterpret_cast<float*>(memory + Layout::kUpperAt);
  auto* lower_block = reinterpret_cast<float*>(memory + Layout::kLowerAt);
  if (warp < 2) {
    float x[32];
#pragma unroll
    for (int i = 0; i < 32; ++i) x[i] = i == lane ? 1.f : 0.f;
    solve_block(x, triangle, warp * 32);
    float* to = warp ? lower_block : upper_block;
#pragma unroll
    for (int i = 0; i < 32; ++i) {
      to[i * 32 + lane] = x[i];
      put(warp * 32 + i, warp * 32 + lane, x[i]);
    }
  } else {
    copy_out(p.pairs, pairs, thread - 64, 64);
    if (warp == 3) {
#pragma unroll
      for (int i = 0; i < 4; ++i)  // rows 0.., columns 32..
        *reinterpret_cast<uint4*>(solve + tile_offset(lane, 4 + i)) = make_uint4(0, 0, 0, 0);
    }
  }
  __syncthreads();
  float y[8] = {};
#pragma unroll 8
  for (int j = 0; j < 32; ++j) {
    const float x = upper_block[j * 32 + lane];
    const auto* l = reinterpret_cast<const float4*>(triangle + j * kSolveStride + 32 + warp * 8);
    const float4 low = l[0], high = l[1];
    y[0] += low.x * x;
    y[1] += low.y * x;
    y[2] += low.z * x;
    y[3] += low.w * x;
    y[4] += high.x * x;
    y[5] += high.y * x;
    y[6] += high.z * x;
    y[7] += high.w * x;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    between[(warp * 8 + i) * 32 + lane] = y[i];
    y[i] = 0.f;
  }
  __syncthreads();
#pragma unroll 2
  for (int j = 0; j < warp * 8 + 8; j += 4) {
    float x[4];
#pragma unroll
    for (int e = 0; e < 4; ++e) x[e] = between[(j + e) * 32 + lane];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float4 l = *reinterpret_cast<const float4*>(lower_block + (warp * 8 + i) * 32 + j);
      y[i] -= l.x * x[0] + l.y * x[1] + l.z * x[2] + l.w * x[3];
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) put(32 + warp * 8 + i, lane, y[i]);
  __syncthreads();
  copy_out(p.solve, solve, thread, 128);
}

}  // namespace flashmorph::kernels::cuda
