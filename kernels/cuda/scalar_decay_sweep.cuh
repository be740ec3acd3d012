// SPDX-License-Identifier: Apache-2.0
// One sweep over a sequence with a D x D state in registers: forward, dQ, and dK with dV are all this kernel with
// other tensors in the roles of query, key and value.
#pragma once

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/scalar_decay_args.h"

namespace flashmorph::kernels::cuda {

constexpr int kChunk = 64;
constexpr float kLog2e = 1.4426950408889634f;
constexpr float kForgotten = -24.f;  // log2 of a decay that no fp32 sum can see

// A branch computes  out_i = sum_j w_ij <query_i, key_j> value_j  over j <= i (forward in time) or j >= i (reverse),
// w_ij = scale * product of the decays between i and j * beta, with the state value^T key carried from chunk to chunk.
//   forward: (q, k, v)          dQ: (dO, v, k)          dV: (k, q, dO) reverse          dK: (v, dO, q) reverse
// dV and dK share their tiles, so one kernel computes both in two branches of four warps each:
// tile 0 = query of branch 0, 1 = its key, value of branch 1, 2 = its value, key of branch 1, 3 = query of branch 1.
struct Sweep {
  View tile[4];
  View out[2];
  const float* fixed_decay;  // [H] natural log, or null
  const float* cumulative;   // [B H][chunks 64] log2, summed inside each chunk, or null
  const float* beta;         // [B H][chunks 64] or null
  float log2_scale;
  const float* state_in;  // [B H][D D] as [K][V] of the caller; may be null
  float* state_out;       // same layout
  bool value_major;       // are the rows of state_in and state_out the values of branch 0 (else its keys)?
  float* slots;        // [B H][pieces][D D] states at piece ends, value-major
  float* piece_decay;  // [B H][pieces] decay over the piece; 0: its state is exact, -1: not computed
  int* warm;           // [B H][segments] warm-up chunks of a segment; -1: its state comes from a slot
  View dot_with[2];    // when set, dots gets <out_i before beta, dot_with_i>
  float* dots[2];      // [B H][4][chunks 64], one partial sum per warp
  uint4* dump;         // states at chunk ends in register order, bf16; written in forward sweeps, read in reverse
  float* crossing;     // [B H][chunks][4] partial <dS, S> at chunk ends
  int tokens, heads, batch_heads, chunks;
  int segment_chunks, piece_chunks, segments, pieces, max_warm;
};

// 16-byte column `chunk` of row `row`, spread so that eight rows of one column lie in different banks
template <int D>
__device__ __forceinline__ uint32_t tile_offset(int row, int chunk) {
  return static_cast<uint32_t>(row * D * 2 + ((chunk ^ (row & 7)) << 4));
}

// `start`: the chunk's first row, the same for all threads
template <int D, int Threads>
__device__ __forceinline__ void load_tile(uint32_t shared, const uint16_t* start, int64_t stride, int valid,
                                          int thread) {
  constexpr int kColumns = D / 8, kRows = Threads / kColumns;  // kRows is a multiple of 8
  const int row0 = thread / kColumns, column = thread % kColumns;
  const uint32_t offset = static_cast<uint32_t>(row0) * static_cast<uint32_t>(stride) + column * 8;
  shared += tile_offset<D>(row0, column);
  if (valid == kChunk) {
#pragma unroll
    for (int i = 0; i < kChunk / kRows; ++i) {
      copy_async(shared + i * kRows * D * 2, start + offset);
      start += kRows * stride;
    }
  } else {
#pragma unroll 1
    for (int i = 0; i < kChunk / kRows; ++i) {
      const bool inside = row0 + i * kRows < valid;
      copy_async_or_zero(shared + i * kRows * D * 2, start + (inside ? i * kRows * stride + offset : 0), inside);
    }
  }
}

// Chunks a segment must start early so that what came before is forgotten; -1 when more than max_warm.
template <bool Reverse>
__device__ __forceinline__ int warm_chunks(const Sweep& p, int batch_head, int segment, float decay) {
  const int before = segment * p.segment_chunks;
  if (!p.cumulative) {
    // a reverse sweep's first chunk may be short: do not count on it
    const float wanted = decay < 0.f ? ceilf(kForgotten / (decay * kChunk)) : 1e9f;
    return wanted <= static_cast<float>(min(p.max_warm, before - (Reverse ? 1 : 0)))
               ? static_cast<int>(wanted)
               : -1;
  }
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float* totals = p.cumulative + static_cast<int64_t>(batch_head) * p.chunks * kChunk + kChunk - 1;
  float sum = 0.f;
  for (int first = 0; first < min(p.max_warm, before); first += 32) {
    const int back = first + lane;
    const int u = before - 1 - back;
    float total = 0.f;
    if (u >= 0) total = __ldg(totals + static_cast<int64_t>(Reverse ? p.chunks - 1 - u : u) * kChunk);
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const float other = __shfl_up_sync(0xffffffffu, total, distance);
      if (lane >= distance) total += other;
    }
    total += sum;
    const unsigned reached = __ballot_sync(0xffffffffu, total <= kForgotten);
    if (reached) {
      const int count = first + __ffs(reached);
      return count <= min(p.max_warm, before) ? count : -1;
    }
    sum = __shfl_sync(0xffffffffu, total, 31);
  }
  return -1;
}

// The slice of one warp: D/4 value columns of the state and of the output.
template <int D, bool Reverse>
struct Slice {
  static constexpr int kWidth = D / 4, kM = kWidth / 16, kN = D / 8, kBlocks = kWidth / 8;
  float state[kM][kN][4];  // state^T: value rows, key columns, as mma accumulators
  int lane, slice;

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int n = 0; n < kN; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) state[m][n][e] = 0.f;
  }
  // `from`, `to`: a D x D matrix in device memory, rows are values (value_major) or keys
  __device__ __forceinline__ void load(const float* from, bool value_major) {
    const int value = slice * kWidth + lane / 4, key = 2 * (lane & 3);
    if (value_major) {
      const float* at = from + value * D + key;
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int n = 0; n < kN; ++n)
#pragma unroll
          for (int low = 0; low < 2; ++low) {
            const float2 pair = *reinterpret_cast<const float2*>(at + (m * 16 + 8 * low) * D + n * 8);
            state[m][n][2 * low] = pair.x;
            state[m][n][2 * low + 1] = pair.y;
          }
    } else {
      const float* at = from + key * D + value;
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int n = 0; n < kN; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) state[m][n][e] = at[(n * 8 + (e & 1)) * D + m * 16 + 8 * (e >> 1)];
    }
  }
  __device__ __forceinline__ void store(float* to, bool value_major) const {
    const int value = slice * kWidth + lane / 4, key = 2 * (lane & 3);
    if (value_major) {
      float* at = to + value * D + key;
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int n = 0; n < kN; ++n)
#pragma unroll
          for (int low = 0; low < 2; ++low)
            *reinterpret_cast<float2*>(at + (m * 16 + 8 * low) * D + n * 8) =
                make_float2(state[m][n][2 * low], state[m][n][2 * low + 1]);
    } else {
      float* at = to + key * D + value;
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int n = 0; n < kN; ++n)
#pragma unroll
          for (int e = 0; e < 4; ++e) at[(n * 8 + (e & 1)) * D + m * 16 + 8 * (e >> 1)] = state[m][n][e];
    }
  }
  __device__ __forceinline__ uint32_t packed(int m, int n, int half) const {
    return pack_bf16(state[m][n][2 * half], state[m][n][2 * half + 1]);
  }

  // P = scale * decay * beta * <query, key> of this warp's 16 x 16 blocks, to shared memory as bf16
  __device__ __forceinline__ void pair_weights(uint32_t query, uint32_t key, unsigned char* pairs,
                                               const float* b, const float* beta, bool with_beta,
                                               float log2_scale) const {
    // The ten blocks (row, column) of the triangle: (3 0) (3 1) (3 2) | (2 0) (2 1) (2 2) | (1 0) (1 1) | (0 0) (3 3).
    // The last two warps compute one block twice, so that no branch stands between the products.
    int row[3], column[3];
#pragma unroll
    for (int t = 0; t < 3; ++t) {
      row[t] = slice == 3 ? (t < 2 ? 0 : 3) : 3 - slice;
      column[t] = slice == 3 ? row[t] : slice == 2 ? min(t, 1) : t;
      if (Reverse) {
        row[t] = 3 - row[t];
        column[t] = 3 - column[t];
      }
    }
    float sum[3][2][4] = {};
    const int row_a = lane & 15, row_b = (lane & 7) + ((lane >> 4) << 3);
    const uint32_t swizzle_a = static_cast<uint32_t>(((lane >> 4) ^ (row_a & 7)) << 4);
    const uint32_t swizzle_b = static_cast<uint32_t>((((lane >> 3) & 1) ^ (row_b & 7)) << 4);
    const uint32_t at_a = query + (row[0] * 16 + row_a) * D * 2, at_a2 = query + (row[2] * 16 + row_a) * D * 2;
    uint32_t at_b[3];
#pragma unroll
    for (int t = 0; t < 3; ++t) at_b[t] = key + (column[t] * 16 + row_b) * D * 2;
#pragma unroll 2
    for (int k = 0; k < D / 16; ++k) {
      uint32_t a[2][4], c[3][4];
      load_matrix(a[0], at_a + ((k * 32) ^ swizzle_a));
      load_matrix(a[1], at_a2 + ((k * 32) ^ swizzle_a));
#pragma unroll
      for (int t = 0; t < 3; ++t) load_matrix(c[t], at_b[t] + ((k * 32) ^ swizzle_b));
#pragma unroll
      for (int t = 0; t < 3; ++t) {
        multiply_add(sum[t][0], a[t / 2], c[t][0], c[t][1]);
        multiply_add(sum[t][1], a[t / 2], c[t][2], c[t][3]);
      }
    }
    const int quad = lane / 4, c = 2 * (lane & 3);
#pragma unroll
    for (int t = 0; t < 3; ++t) {
      if (!(slice == 3 && t == 1) && !(slice == 2 && t == 2)) {
        const float* b_row = b + row[t] * 16 + quad;
        const float sign = Reverse ? -log2_scale : log2_scale;  // the scale rides in the exponent
        const float b_i[2] = {b_row[0] + sign, b_row[8] + sign};
        unsigned char* at_row = pairs + (row[t] * 16 + quad) * 128 + c * 2;
        const int ahead = Reverse ? (column[t] - row[t]) * 16 + c - quad : (row[t] - column[t]) * 16 + quad - c;
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int j = column[t] * 16 + half * 8 + c;
          const float2 b_j = *reinterpret_cast<const float2*>(b + j);
          if (!Reverse && with_beta) {
            const float2 beta_j = *reinterpret_cast<const float2*>(beta + j);
            sum[t][half][0] *= beta_j.x;
            sum[t][half][1] *= beta_j.y;
            sum[t][half][2] *= beta_j.x;
            sum[t][half][3] *= beta_j.y;
          }
          unsigned char* at = at_row + (((column[t] * 2 + half) ^ quad) << 4);
#pragma unroll
          for (int low = 0; low < 2; ++low) {
            const float x0 = Reverse ? b_j.x - b_i[low] : b_i[low] - b_j.x;
            const float x1 = Reverse ? b_j.y - b_i[low] : b_i[low] - b_j.y;
            // how far the second token of the pair lies in the past of the first; chosen after the product, so that
            // nothing from beyond the triangle gets through
            const int past = ahead + (Reverse ? 8 * half - 8 * low : 8 * low - 8 * half);
            const float w0 = past >= 0 ? sum[t][half][2 * low] * exp2_fast(x0) : 0.f;
            const float w1 = (Reverse ? past + 1 : past - 1) >= 0 ? sum[t][half][2 * low + 1] * exp2_fast(x1) : 0.f;
            *reinterpret_cast<uint32_t*>(at + low * 8 * 128) = pack_bf16(w0, w1);
          }
        }
      }
    }
  }

  struct Output {
    uint16_t* to;
    int64_t stride;
    int valid;          // tokens of the chunk
    const float* beta;  // row factors in reverse sweeps
    const uint16_t* with;
    int64_t with_stride;
    float* dots;  // <out before beta, with>, or null
  };

  // out = scale * a_i * (query . state) + P value, 32 tokens at a time, to device memory.
  // The loop over rows stays a loop: unrolled, the kernel would not fit the instruction cache.
  __device__ __forceinline__ void outputs(uint32_t query, uint32_t pairs, uint32_t value, const float* b,
                                          float log2_scale, unsigned char* stage, const Output& output) const {
    uint32_t packed_state[kN][kBlocks];
#pragma unroll
    for (int n = 0; n < kN; ++n)
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) packed_state[n][i] = packed(i / 2, n, i & 1);
    const int row_a = lane & 15;
    const uint32_t swizzle = static_cast<uint32_t>(((lane >> 4) ^ (row_a & 7)) << 4);
    uint32_t at_value[kM];
#pragma unroll
    for (int m = 0; m < kM; ++m)
      at_value[m] = value + row_a * D * 2 + (static_cast<uint32_t>((slice * kBlocks + 2 * m) << 4) ^ swizzle);
    const float total = Reverse ? b[kChunk - 1] + log2_scale : log2_scale;
#pragma unroll 1
    for (int r = 0; r < 2; ++r) {
      float out[2][kBlocks][4] = {};
      const uint32_t at_query = query + (r * 32 + row_a) * D * 2;
#pragma unroll
      for (int k = 0; k < D / 16; ++k) {
        uint32_t a[2][4];
        load_matrix(a[0], at_query + ((k * 32) ^ swizzle));
        load_matrix(a[1], at_query + 16 * D * 2 + ((k * 32) ^ swizzle));
#pragma unroll
        for (int h = 0; h < 2; ++h)
#pragma unroll
          for (int i = 0; i < kBlocks; ++i)
            multiply_add(out[h][i], a[h], packed_state[2 * k][i], packed_state[2 * k + 1][i]);
      }
#pragma unroll
      for (int h = 0; h < 2; ++h)
#pragma unroll
        for (int low = 0; low < 2; ++low) {
          const float b_i = b[r * 32 + h * 16 + lane / 4 + 8 * low];
          const float factor = exp2_fast(Reverse ? total - b_i : total + b_i);
#pragma unroll
          for (int i = 0; i < kBlocks; ++i) {
            out[h][i][2 * low] *= factor;
            out[h][i][2 * low + 1] *= factor;
          }
        }
      // two columns of blocks at a time; of the blocks beyond the triangle some are met, and they hold zeros
      const int first = Reverse ? 2 * r : 0, last = Reverse ? 4 : 2 * r + 2;
#pragma unroll 1
      for (int j2 = first; j2 < last; j2 += 2) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          uint32_t p[2][4], v[kM][4];
#pragma unroll
          for (int h = 0; h < 2; ++h)
            load_matrix(p[h], pairs + (r * 32 + h * 16 + row_a) * 128 + (static_cast<uint32_t>((j2 + j) * 32) ^ swizzle));
#pragma unroll
          for (int m = 0; m < kM; ++m) load_matrix_transposed(v[m], at_value[m] + (j2 + j) * 16 * D * 2);
#pragma unroll
          for (int h = 0; h < 2; ++h)
#pragma unroll
            for (int m = 0; m < kM; ++m) {
              multiply_add(out[h][2 * m], p[h], v[m][0], v[m][1]);
              multiply_add(out[h][2 * m + 1], p[h], v[m][2], v[m][3]);
            }
        }
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) write_rows(out[h], r * 32 + h * 16, stage, output);
    }
  }

  // Sixteen rows of this warp's columns, turned in a private kibibyte so that a lane stores 16 bytes.
  __device__ __forceinline__ void write_rows(const float (&out)[kBlocks][4], int row0, unsigned char* stage,
                                             const Output& output) const {
    const int c = lane & 3;
    if (output.with) {
      // from the fp32 sums: rounded outputs would not cancel in the gradient of the decay
#pragma unroll
      for (int low = 0; low < 2; ++low) {
        const int row = row0 + lane / 4 + 8 * low;
        float dot = 0.f;
        if (row < output.valid) {
          const uint16_t* other = output.with + row * output.with_stride + slice * kWidth + 2 * c;
#pragma unroll
          for (int i = 0; i < kBlocks; ++i) {
            const uint32_t pair = *reinterpret_cast<const uint32_t*>(other + 8 * i);
            dot += bf16_low(pair) * out[i][2 * low] + bf16_high(pair) * out[i][2 * low + 1];
          }
        }
        dot += __shfl_xor_sync(0xffffffffu, dot, 1);
        dot += __shfl_xor_sync(0xffffffffu, dot, 2);
        if (c == 0) output.dots[row] = dot;
      }
    }
    constexpr int kShift = kBlocks == 4 ? 1 : 2;  // rows of 64 or 32 bytes: eight of them over all banks
    auto at = [&](int row, int block) {
      return static_cast<uint32_t>(row * kWidth * 2 + ((block ^ ((row >> kShift) & (kBlocks - 1))) << 4));
    };
    float beta[2] = {1.f, 1.f};
    if (Reverse) {
      beta[0] = output.beta[row0 + lane / 4];
      beta[1] = output.beta[row0 + lane / 4 + 8];
    }
    const uint32_t to_stage = shared_address(stage);
    const int row_of_lane = (lane & 7) + ((lane >> 3) & 1) * 8;
#pragma unroll
    for (int i = 0; i < kBlocks / 2; ++i) {
      uint32_t words[4];
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const float* from = &out[2 * i + w / 2][2 * (w & 1)];
        words[w] = Reverse ? pack_bf16(from[0] * beta[w & 1], from[1] * beta[w & 1]) : pack_bf16(from[0], from[1]);
      }
      store_matrix(to_stage + at(row_of_lane, 2 * i + (lane >> 4)), words);
    }
    __syncwarp();
    const int row1 = lane / kBlocks, block = lane % kBlocks;
    uint16_t* to = output.to + (row0 + row1) * output.stride + slice * kWidth + block * 8;
#pragma unroll
    for (int i = 0; i < kBlocks / 2; ++i) {
      const int row = row1 + i * (32 / kBlocks);
      const uint4 word = *reinterpret_cast<const uint4*>(stage + at(row, block));
      if (row0 + row < output.valid) *reinterpret_cast<uint4*>(to) = word;
      to += (32 / kBlocks) * output.stride;
    }
    __syncwarp();
  }

  // state = decay of the chunk * state + (c o value)^T key
  __device__ __forceinline__ void advance(uint32_t key, uint32_t value, const float* b, const float* beta,
                                          bool with_beta, float log2_scale) {
    const float decay = exp2_fast(b[kChunk - 1]);
    const float total = Reverse ? log2_scale : b[kChunk - 1];  // only reverse sweeps scale what they add
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int n = 0; n < kN; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) state[m][n][e] *= decay;
    const int row = lane & 15;
    const uint32_t swizzle = static_cast<uint32_t>(((lane >> 4) ^ (row & 7)) << 4);
#pragma unroll 1
    for (int j = 0; j < 4; ++j) {
      uint32_t raw[kM][4], v[kM][4], k[2][4];
      const uint32_t at = (j * 16 + row) * D * 2;
#pragma unroll
      for (int m = 0; m < kM; ++m)
        load_matrix_transposed(raw[m], value + at + (static_cast<uint32_t>((slice * kBlocks + 2 * m) << 4) ^ swizzle));
      load_matrix_transposed(k[0], key + at + swizzle);
      float c[4];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = j * 16 + 2 * (lane & 3) + 8 * half;
        const float2 b_i = *reinterpret_cast<const float2*>(b + i);
        c[2 * half] = exp2_fast(Reverse ? total + b_i.x : total - b_i.x);
        c[2 * half + 1] = exp2_fast(Reverse ? total + b_i.y : total - b_i.y);
        if (!Reverse && with_beta) {
          const float2 beta_i = *reinterpret_cast<const float2*>(beta + i);
          c[2 * half] *= beta_i.x;
          c[2 * half + 1] *= beta_i.y;
        }
      }
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        // raw: (block, token half) = 00 01 10 11; as a transposed left operand the middle two change places
        v[m][0] = pack_bf16(bf16_low(raw[m][0]) * c[0], bf16_high(raw[m][0]) * c[1]);
        v[m][1] = pack_bf16(bf16_low(raw[m][2]) * c[0], bf16_high(raw[m][2]) * c[1]);
        v[m][2] = pack_bf16(bf16_low(raw[m][1]) * c[2], bf16_high(raw[m][1]) * c[3]);
        v[m][3] = pack_bf16(bf16_low(raw[m][3]) * c[2], bf16_high(raw[m][3]) * c[3]);
      }
#pragma unroll
      for (int n = 0; n < kN / 2; ++n) {
        if (n + 1 < kN / 2) load_matrix_transposed(k[(n + 1) & 1], key + at + (((n + 1) * 32) ^ swizzle));
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          multiply_add(state[m][2 * n], v[m], k[n & 1][0], k[n & 1][1]);
          multiply_add(state[m][2 * n + 1], v[m], k[n & 1][2], k[n & 1][3]);
        }
      }
    }
  }

  // bf16 copy of the state in register order
  __device__ __forceinline__ void write_dump(uint4* to) const {
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int n = 0; n < kN; n += 2)
        to[(m * kN + n) / 2 * 32 + lane] =
            make_uint4(packed(m, n, 0), packed(m, n, 1), packed(m, n + 1, 0), packed(m, n + 1, 1));
  }
  __device__ __forceinline__ float dot_dump(const uint4* from) const {
    float sum = 0.f;
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int n = 0; n < kN; n += 2) {
        const uint4 word = from[(m * kN + n) / 2 * 32 + lane];
        const uint32_t words[4] = {word.x, word.y, word.z, word.w};
#pragma unroll
        for (int i = 0; i < 4; ++i)
          sum += bf16_low(words[i]) * state[m][n + i / 2][2 * (i & 1)] +
                 bf16_high(words[i]) * state[m][n + i / 2][2 * (i & 1) + 1];
      }
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    return sum;
  }
};

template <int D, int Branches, int Stages, bool StateOnly>
struct SweepLayout {
  static constexpr int kTile = kChunk * D * 2;
  static constexpr int kTiles = StateOnly ? 2 : Branches + 2;
  static constexpr int kStage = kTiles * kTile + 2 * kChunk * 4;
  static constexpr int kPairs = StateOnly ? 0 : kChunk * kChunk * 2;
  static constexpr int kTurn = StateOnly ? 0 : 4 * 16 * D / 4 * 2;  // to turn the rows of four warps
  static constexpr int kBytes = Stages * kStage + Branches * (kPairs + kTurn);
};

// Order of heads: heavy ones (Lightning's last) first, each with a light one in the second half of the grid, so that
// two blocks sharing a multiprocessor carry about the same work.
__device__ __forceinline__ int head_of_rank(int rank, int count) {
  return rank < count / 2 ? count - 1 - rank : rank - count / 2;
}

template <int D, bool Reverse, int Branches, int Stages, bool StateOnly>
__global__ void __launch_bounds__(128 * Branches, Branches == 2 ? 1 : 2)
    sweep_kernel(const __grid_constant__ Sweep p) {
  using Layout = SweepLayout<D, Branches, Stages, StateOnly>;
  constexpr int kThreads = 128 * Branches;
  constexpr int kFirstTile = StateOnly ? 1 : 0;
  unsigned char* memory = shared_memory();
  const uint32_t base = shared_address(memory);
  const int thread = static_cast<int>(threadIdx.x);
  const int branch = Branches == 2 ? thread / 128 : 0;
  unsigned char* pairs = memory + Stages * Layout::kStage + branch * (Layout::kPairs + Layout::kTurn);

  // which run of chunks, counted in sweep order
  const int runs = StateOnly ? (p.segments - 1) * (p.segment_chunks / p.piece_chunks) : p.segments;
  const int rank = static_cast<int>(blockIdx.x) / runs, run = static_cast<int>(blockIdx.x) % runs;
  const int batch_head = head_of_rank(rank, p.batch_heads);
  const int batch = batch_head / p.heads, head = batch_head % p.heads;
  const float decay = p.fixed_decay ? p.fixed_decay[head] * kLog2e : 0.f;
  const int run_chunks = StateOnly ? p.piece_chunks : p.segment_chunks;
  const int segment = StateOnly ? run * p.piece_chunks / p.segment_chunks : run;
  const bool segment_start = run * run_chunks == segment * p.segment_chunks;
  const int main_begin = run * run_chunks, end = min(main_begin + run_chunks, p.chunks);
  int begin = main_begin;
  Slice<D, Reverse> slice;
  slice.lane = thread % 32;
  slice.slice = thread / 32 % 4;

  bool exact = false;  // does the run know its state at entry?
  const float* from = nullptr;
  bool value_major = p.value_major;
  if (segment == 0 && segment_start) {
    exact = true;
    if (p.state_in) from = p.state_in + static_cast<int64_t>(batch_head) * D * D;
  } else if (StateOnly) {
    if (segment_start) {
      const int warm = warm_chunks<Reverse>(p, batch_head, segment, decay);
      exact = warm >= 0;
      begin -= max(warm, 0);
    }
  } else {
    const int warm = p.warm[batch_head * p.segments + segment];
    if (warm >= 0) {
      begin -= warm;
    } else {
      from = p.slots + (static_cast<int64_t>(batch_head) * p.pieces + main_begin / p.piece_chunks - 1) * D * D;
      value_major = true;
    }
  }
  if (StateOnly) {
    const int next = warm_chunks<Reverse>(p, batch_head, segment + 1, decay);
    if (thread == 0) {
      if (segment_start) p.warm[batch_head * p.segments + segment + 1] = next;
      if (next >= 0) p.piece_decay[batch_head * p.pieces + run] = -1.f;
    }
    if (next >= 0) return;
  }

  const int64_t gates = static_cast<int64_t>(batch_head) * p.chunks * kChunk;
  auto tile_start = [&](const View& view, int64_t token) {
    return batch * view.batch + head * view.head + token * view.token;
  };
  auto issue = [&](int u, int slot) {
    const int chunk = Reverse ? p.chunks - 1 - u : u;
    const int64_t token = static_cast<int64_t>(chunk) * kChunk;
    const int valid = min(kChunk, p.tokens - chunk * kChunk);
    const uint32_t stage = base + slot * Layout::kStage;
#pragma unroll
    for (int t = kFirstTile; t < kFirstTile + Layout::kTiles; ++t) {
      if (t == 1 || t == 2 || u >= main_begin)
        load_tile<D, kThreads>(stage + (t - kFirstTile) * Layout::kTile,
                               static_cast<const uint16_t*>(p.tile[t].data) + tile_start(p.tile[t], token),
                               p.tile[t].token, valid, thread);
    }
    const uint32_t b_offset = slot * Layout::kStage + Layout::kTiles * Layout::kTile;
    if (p.cumulative) {
      if (thread < 16) copy_async(base + b_offset + thread * 16, p.cumulative + gates + token + thread * 4);
    } else if (thread < kChunk) {
      reinterpret_cast<float*>(memory + b_offset)[thread] = decay * static_cast<float>(min(thread + 1, valid));
    }
    if (p.beta) {
      if (thread < 16) copy_async(base + b_offset + kChunk * 4 + thread * 16, p.beta + gates + token + thread * 4);
    } else if (thread < kChunk) {
      reinterpret_cast<float*>(memory + b_offset)[kChunk + thread] = 1.f;
    }
  };

  if (from)
    slice.load(from, value_major != (branch == 1));
  else
    slice.clear();

  if constexpr (!StateOnly) {
    for (int i = thread % 128; i < Layout::kPairs / 16; i += 128)
      reinterpret_cast<uint4*>(pairs)[i] = make_uint4(0, 0, 0, 0);
  }
  float passed = 0.f;  // log2 of the decay over the run
  int slot = 0, free_slot = 0;
#pragma unroll 1
  for (int u = begin - (Stages - 1); u < end; ++u) {
    if constexpr (Stages == 1) {
      __syncthreads();
      issue(u, 0);
      copy_commit();
      copy_wait<0>();
      __syncthreads();
    } else {
      // all but the last Stages - 2 groups have landed for all threads, and the slot read before is free
      copy_wait<Stages - 2>();
      __syncthreads();
      if (u + Stages - 1 < end) issue(u + Stages - 1, free_slot);
      copy_commit();
      free_slot = free_slot + 1 == Stages ? 0 : free_slot + 1;
      if (u < begin) continue;
    }
    const uint32_t offset = slot * Layout::kStage;
    const auto* b = reinterpret_cast<const float*>(memory + offset + Layout::kTiles * Layout::kTile);
    const float* beta = b + kChunk;
    const int key_tile = (branch ? 2 : 1) - kFirstTile, value_tile = (branch ? 1 : 2) - kFirstTile;
    const uint32_t key = base + offset + key_tile * Layout::kTile, value = base + offset + value_tile * Layout::kTile;
    if constexpr (!StateOnly) {
      if (u >= main_begin) {
        const int chunk = Reverse ? p.chunks - 1 - u : u;
        const int query_tile = branch ? 3 : 0;
        const uint32_t query = base + offset + query_tile * Layout::kTile;
        if (Branches == 2 && branch == 1 && p.dump) {
          const int64_t at = static_cast<int64_t>(batch_head) * p.chunks + chunk;
          const float dot = slice.dot_dump(p.dump + (at * 4 + slice.slice) * (D * D / 4 / 8));
          if (slice.lane == 0) p.crossing[at * 4 + slice.slice] = dot;
        }
        slice.pair_weights(query, key, pairs, b, beta, p.beta != nullptr, p.log2_scale);
        named_barrier(1 + branch, 128);
        const int64_t token = static_cast<int64_t>(chunk) * kChunk;
        const View& view = p.out[branch];
        const View& with = p.dot_with[branch];
        const typename Slice<D, Reverse>::Output output{
            static_cast<uint16_t*>(view.data) + tile_start(view, token),
            view.token,
            min(kChunk, p.tokens - chunk * kChunk),
            beta,
            with.data ? static_cast<const uint16_t*>(with.data) + tile_start(with, token) : nullptr,
            with.token,
            p.dots[branch] + (gates * 4 + static_cast<int64_t>(slice.slice) * p.chunks * kChunk + token)};
        slice.outputs(query, shared_address(pairs), value, b, Reverse ? 0.f : p.log2_scale,
                      pairs + Layout::kPairs + slice.slice * (Layout::kTurn / 4), output);
      }
    }
    slice.advance(key, value, b, beta, p.beta != nullptr, p.log2_scale);
    if (StateOnly && u >= main_begin) passed += b[kChunk - 1];
    if (!StateOnly && Branches == 1 && p.dump && u >= main_begin) {
      const int64_t at = static_cast<int64_t>(batch_head) * p.chunks + (Reverse ? p.chunks - 1 - u : u);
      slice.write_dump(p.dump + (at * 4 + slice.slice) * (D * D / 4 / 8));
    }
    slot = slot + 1 == Stages ? 0 : slot + 1;
  }

  if (StateOnly) {
    slice.store(p.slots + (static_cast<int64_t>(batch_head) * p.pieces + run) * D * D, true);
    if (thread == 0) p.piece_decay[batch_head * p.pieces + run] = exact ? 0.f : exp2_fast(passed);
  } else if (branch == 0 && p.state_out && end == p.chunks) {
    slice.store(p.state_out + static_cast<int64_t>(batch_head) * D * D, p.value_major);
  }
}

}  // namespace flashmorph::kernels::cuda
