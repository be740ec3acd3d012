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
  float scale;
  const float* state_in;  // [B H][D D], value index * value_stride + key index * key_stride; may be null
  float* state_out;       // same layout
  int value_stride, key_stride;
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

template <int D, int Threads>
__device__ __forceinline__ void load_tile(uint32_t shared, const View& view, int64_t start, int valid,
                                          int thread) {
  constexpr int kColumns = D / 8, kRows = Threads / kColumns;
  const int row0 = thread / kColumns, column = thread % kColumns;
  const auto* source = static_cast<const uint16_t*>(view.data) + start + column * 8;
#pragma unroll
  for (int i = 0; i < kChunk / kRows; ++i) {
    const int row = row0 + i * kRows;
    const bool inside = row < valid;
    copy_async(shared + tile_offset<D>(row, column), source + (inside ? row : 0) * view.token, inside);
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

  __device__ __forceinline__ int value_index(int m, int e) const {
    return slice * kWidth + m * 16 + lane / 4 + 8 * (e >> 1);
  }
  __device__ __forceinline__ int key_index(int n, int e) const { return n * 8 + 2 * (lane & 3) + (e & 1); }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int n = 0; n < kN; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) state[m][n][e] = 0.f;
  }
  __device__ __forceinline__ void load(const float* from, int value_stride, int key_stride) {
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int n = 0; n < kN; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          state[m][n][e] = from[value_index(m, e) * value_stride + key_index(n, e) * key_stride];
  }
  __device__ __forceinline__ void store(float* to, int value_stride, int key_stride) const {
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int n = 0; n < kN; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          to[value_index(m, e) * value_stride + key_index(n, e) * key_stride] = state[m][n][e];
  }
  __device__ __forceinline__ uint32_t packed(int m, int n, int half) const {
    return pack_bf16(state[m][n][2 * half], state[m][n][2 * half + 1]);
  }

  // P = scale * decay * beta * <query, key> of this warp's 16 x 16 blocks, to shared memory as bf16
  __device__ __forceinline__ void pair_weights(uint32_t query, uint32_t key, unsigned char* pairs,
                                               const float* b, const float* beta, float scale) const {
    // the ten blocks of the triangle, two or three to a warp: row 3 (0 1 2), row 2, row 1, then (0 0) and (3 3)
    const int count = slice < 2 ? 3 : 2;
    int row[3], column[3];
#pragma unroll
    for (int t = 0; t < 3; ++t) {
      row[t] = slice == 3 ? (t == 0 ? 0 : 3) : 3 - slice;
      column[t] = slice == 3 ? row[t] : t;
      if (Reverse) {
        row[t] = 3 - row[t];
        column[t] = 3 - column[t];
      }
    }
    float sum[3][2][4] = {};
    const int row_a = lane & 15, row_b = (lane & 7) + ((lane >> 4) << 3);
    const uint32_t swizzle_a = static_cast<uint32_t>(((lane >> 4) ^ (row_a & 7)) << 4);
    const uint32_t swizzle_b = static_cast<uint32_t>((((lane >> 3) & 1) ^ (row_b & 7)) << 4);
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
#pragma unroll
      for (int t = 0; t < 3; ++t) {
        if (t < count) {
          uint32_t a[4], c[4];
          load_matrix(a, query + (row[t] * 16 + row_a) * D * 2 + ((k * 32) ^ swizzle_a));
          load_matrix(c, key + (column[t] * 16 + row_b) * D * 2 + ((k * 32) ^ swizzle_b));
          multiply_add(sum[t][0], a, c[0], c[1]);
          multiply_add(sum[t][1], a, c[2], c[3]);
        }
      }
    }
#pragma unroll
    for (int t = 0; t < 3; ++t) {
      if (t < count) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int j = column[t] * 16 + half * 8 + 2 * (lane & 3);
          const float b_j[2] = {b[j], b[j + 1]};
          float s_j[2] = {scale, scale};
          if (!Reverse && beta) {
            s_j[0] *= beta[j];
            s_j[1] *= beta[j + 1];
          }
#pragma unroll
          for (int low = 0; low < 2; ++low) {
            const int i = row[t] * 16 + lane / 4 + 8 * low;
            const float b_i = b[i];
            float w[2];
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              const bool seen = Reverse ? j + e >= i : j + e <= i;
              const float x = Reverse ? b_j[e] - b_i : b_i - b_j[e];
              // chosen after the product, so that nothing from beyond the triangle gets through
              w[e] = seen ? sum[t][half][2 * low + e] * s_j[e] * exp2_fast(min(x, 0.f)) : 0.f;
            }
            *reinterpret_cast<uint32_t*>(pairs + i * 128 + (((j >> 3) ^ (i & 7)) << 4) + (lane & 3) * 4) =
                pack_bf16(w[0], w[1]);
          }
        }
      }
    }
  }

  // out = row_scale * a_i * (query . state), 64 tokens x kWidth
  __device__ __forceinline__ void from_state(float (&out)[4][kBlocks][4], uint32_t query, const float* b,
                                             float row_scale) const {
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int n = 0; n < kBlocks; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) out[r][n][e] = 0.f;
    const int row_a = lane & 15;
    const uint32_t swizzle = static_cast<uint32_t>(((lane >> 4) ^ (row_a & 7)) << 4);
    const uint32_t base = query + row_a * D * 2;
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      uint32_t b0[kBlocks], b1[kBlocks];
#pragma unroll
      for (int n = 0; n < kBlocks; ++n) {
        b0[n] = packed(n / 2, 2 * k, n & 1);
        b1[n] = packed(n / 2, 2 * k + 1, n & 1);
      }
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        uint32_t a[4];
        load_matrix(a, base + r * 16 * D * 2 + ((k * 32) ^ swizzle));
#pragma unroll
        for (int n = 0; n < kBlocks; ++n) multiply_add(out[r][n], a, b0[n], b1[n]);
      }
    }
#pragma unroll
    for (int r = 0; r < 4; ++r) {
#pragma unroll
      for (int low = 0; low < 2; ++low) {
        const float b_i = b[r * 16 + lane / 4 + 8 * low];
        const float factor = row_scale * exp2_fast(Reverse ? b[kChunk - 1] - b_i : b_i);
#pragma unroll
        for (int n = 0; n < kBlocks; ++n) {
          out[r][n][2 * low] *= factor;
          out[r][n][2 * low + 1] *= factor;
        }
      }
    }
  }

  // out += P value
  __device__ __forceinline__ void from_pairs(float (&out)[4][kBlocks][4], uint32_t pairs,
                                             uint32_t value) const {
    const int row = lane & 15;
    const uint32_t swizzle = static_cast<uint32_t>(((lane >> 4) ^ (row & 7)) << 4);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      uint32_t v[kM][4];
#pragma unroll
      for (int m = 0; m < kM; ++m)
        load_matrix_transposed(v[m], value + (j * 16 + row) * D * 2 +
                                         (static_cast<uint32_t>((slice * kBlocks + 2 * m) << 4) ^ swizzle));
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        if (Reverse ? r <= j : r >= j) {
          uint32_t a[4];
          load_matrix(a, pairs + (r * 16 + row) * 128 + ((j * 32) ^ swizzle));
#pragma unroll
          for (int m = 0; m < kM; ++m) {
            multiply_add(out[r][2 * m], a, v[m][0], v[m][1]);
            multiply_add(out[r][2 * m + 1], a, v[m][2], v[m][3]);
          }
        }
      }
    }
  }

  // state = decay of the chunk * state + (c o value)^T key
  __device__ __forceinline__ void advance(uint32_t key, uint32_t value, const float* b, const float* beta,
                                          float state_scale) {
    const float last = b[kChunk - 1];
    const float decay = exp2_fast(last);
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int n = 0; n < kN; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) state[m][n][e] *= decay;
    const int row = lane & 15;
    const uint32_t swizzle = static_cast<uint32_t>(((lane >> 4) ^ (row & 7)) << 4);
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      float c[4];
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const int i = j * 16 + 2 * (lane & 3) + (e & 1) + 8 * (e >> 1);
        c[e] = state_scale * exp2_fast(Reverse ? b[i] : last - b[i]);
        if (!Reverse && beta) c[e] *= beta[i];
      }
      uint32_t v[kM][4];
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        uint32_t raw[4];
        load_matrix_transposed(raw, value + (j * 16 + row) * D * 2 +
                                        (static_cast<uint32_t>((slice * kBlocks + 2 * m) << 4) ^ swizzle));
        // raw: (block, token half) = 00 01 10 11; as a transposed left operand the middle two change places
        v[m][0] = pack_bf16(bf16_low(raw[0]) * c[0], bf16_high(raw[0]) * c[1]);
        v[m][1] = pack_bf16(bf16_low(raw[2]) * c[0], bf16_high(raw[2]) * c[1]);
        v[m][2] = pack_bf16(bf16_low(raw[1]) * c[2], bf16_high(raw[1]) * c[3]);
        v[m][3] = pack_bf16(bf16_low(raw[3]) * c[2], bf16_high(raw[3]) * c[3]);
      }
#pragma unroll
      for (int n = 0; n < kN / 2; ++n) {
        uint32_t k[4];
        load_matrix_transposed(k, key + (j * 16 + row) * D * 2 + ((n * 32) ^ swizzle));
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          multiply_add(state[m][2 * n], v[m], k[0], k[1]);
          multiply_add(state[m][2 * n + 1], v[m], k[2], k[3]);
        }
      }
    }
  }

  // Through this warp's columns of a free tile to the output: 16 bytes a lane. beta scales rows in reverse sweeps.
  __device__ __forceinline__ void write_out(const float (&out)[4][kBlocks][4], unsigned char* stage,
                                            uint16_t* to, int64_t stride, int valid, const float* beta,
                                            const uint16_t* with, int64_t with_stride, float* dots) const {
    if (with) {
      // from the fp32 sums: rounded outputs would not cancel in the gradient of the decay
#pragma unroll
      for (int r = 0; r < 4; ++r)
#pragma unroll
        for (int low = 0; low < 2; ++low) {
          const int row = r * 16 + lane / 4 + 8 * low;
          float dot = 0.f;
          if (row < valid) {
            const uint16_t* other = with + row * with_stride + slice * kWidth + 2 * (lane & 3);
#pragma unroll
            for (int n = 0; n < kBlocks; ++n) {
              const uint32_t pair = *reinterpret_cast<const uint32_t*>(other + 8 * n);
              dot += bf16_low(pair) * out[r][n][2 * low] + bf16_high(pair) * out[r][n][2 * low + 1];
            }
          }
          dot += __shfl_xor_sync(0xffffffffu, dot, 1);
          dot += __shfl_xor_sync(0xffffffffu, dot, 2);
          if ((lane & 3) == 0) dots[row] = dot;
        }
    }
#pragma unroll
    for (int r = 0; r < 4; ++r)
#pragma unroll
      for (int n = 0; n < kBlocks; ++n)
#pragma unroll
        for (int low = 0; low < 2; ++low)
          *reinterpret_cast<uint32_t*>(stage + tile_offset<D>(r * 16 + lane / 4 + 8 * low, slice * kBlocks + n) +
                                       (lane & 3) * 4) = pack_bf16(out[r][n][2 * low], out[r][n][2 * low + 1]);
    __syncwarp();
    constexpr int kRows = 32 / kBlocks;
    const int column = slice * kBlocks + lane / kRows;
#pragma unroll
    for (int i = 0; i < kChunk / kRows; ++i) {
      const int row = i * kRows + lane % kRows;
      uint4 word = *reinterpret_cast<const uint4*>(stage + tile_offset<D>(row, column));
      if (row < valid) {
        if (Reverse && beta) {
          const float f = beta[row];
          word.x = pack_bf16(bf16_low(word.x) * f, bf16_high(word.x) * f);
          word.y = pack_bf16(bf16_low(word.y) * f, bf16_high(word.y) * f);
          word.z = pack_bf16(bf16_low(word.z) * f, bf16_high(word.z) * f);
          word.w = pack_bf16(bf16_low(word.w) * f, bf16_high(word.w) * f);
        }
        *reinterpret_cast<uint4*>(to + row * stride + column * 8) = word;
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
  static constexpr int kBytes = Stages * kStage + Branches * kPairs;
};

// Order of heads: heavy ones (Lightning's last) first, each with a light one in the second half of the grid, so that
// two blocks sharing a multiprocessor carry about the same work.
__device__ __forceinline__ int head_of_rank(int rank, int count) {
  return rank < count / 2 ? count - 1 - rank : rank - count / 2;
}

template <int D, bool Reverse, int Branches, int Stages, bool StateOnly>
__global__ void __launch_bounds__(128 * Branches, Branches == 2 ? 1 : StateOnly ? 3 : 2)
    sweep_kernel(const __grid_constant__ Sweep p) {
  using Layout = SweepLayout<D, Branches, Stages, StateOnly>;
  constexpr int kThreads = 128 * Branches;
  constexpr int kFirstTile = StateOnly ? 1 : 0;
  unsigned char* memory = shared_memory();
  const uint32_t base = shared_address(memory);
  const int thread = static_cast<int>(threadIdx.x);
  const int branch = Branches == 2 ? thread / 128 : 0;
  unsigned char* pairs = memory + Stages * Layout::kStage + branch * Layout::kPairs;

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
  int value_stride = p.value_stride, key_stride = p.key_stride;
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
      value_stride = D;
      key_stride = 1;
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
        load_tile<D, kThreads>(stage + (t - kFirstTile) * Layout::kTile, p.tile[t], tile_start(p.tile[t], token),
                               valid, thread);
    }
    const uint32_t b_offset = slot * Layout::kStage + Layout::kTiles * Layout::kTile;
    if (p.cumulative) {
      if (thread < 16) copy_async(base + b_offset + thread * 16, p.cumulative + gates + token + thread * 4, true);
    } else if (thread < kChunk) {
      reinterpret_cast<float*>(memory + b_offset)[thread] = decay * static_cast<float>(min(thread + 1, valid));
    }
    if (p.beta && thread >= 32 && thread < 48)
      copy_async(base + b_offset + kChunk * 4 + (thread - 32) * 16, p.beta + gates + token + (thread - 32) * 4, true);
  };

#pragma unroll
  for (int i = 0; i < Stages - 1; ++i) {
    if (begin + i < end) issue(begin + i, i);
    copy_commit();
  }
  if (from) {
    if (branch == 0)
      slice.load(from, value_stride, key_stride);
    else
      slice.load(from, key_stride, value_stride);
  } else {
    slice.clear();
  }

  float passed = 0.f;  // log2 of the decay over the run
  int slot = 0;
  for (int u = begin; u < end; ++u) {
    if constexpr (Stages == 1) {
      __syncthreads();
      issue(u, 0);
      copy_commit();
      copy_wait<0>();
      __syncthreads();
    } else {
      copy_wait<Stages - 2>();
      __syncthreads();
      const int next = slot == 0 ? Stages - 1 : slot - 1;
      if (u + Stages - 1 < end) issue(u + Stages - 1, next);
      copy_commit();
    }
    const uint32_t offset = slot * Layout::kStage;
    const auto* b = reinterpret_cast<const float*>(memory + offset + Layout::kTiles * Layout::kTile);
    const float* beta = p.beta ? b + kChunk : nullptr;
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
        slice.pair_weights(query, key, pairs, b, beta, p.scale);
        float out[4][Slice<D, Reverse>::kBlocks][4];
        slice.from_state(out, query, b, Reverse ? 1.f : p.scale);
        named_barrier(1 + branch, 128);
        slice.from_pairs(out, shared_address(pairs), value);
        const int64_t token = static_cast<int64_t>(chunk) * kChunk;
        const View& view = p.out[branch];
        const View& with = p.dot_with[branch];
        slice.write_out(out, memory + offset + query_tile * Layout::kTile,
                        static_cast<uint16_t*>(view.data) + tile_start(view, token), view.token,
                        min(kChunk, p.tokens - chunk * kChunk), beta,
                        with.data ? static_cast<const uint16_t*>(with.data) + tile_start(with, token) : nullptr,
                        with.token,
                        with.data ? p.dots[branch] + gates * 4 + static_cast<int64_t>(slice.slice) * p.chunks * kChunk + token
                                  : nullptr);
      }
    }
    slice.advance(key, value, b, beta, Reverse ? p.scale : 1.f);
    if (StateOnly && u >= main_begin) passed += b[kChunk - 1];
    if (!StateOnly && Branches == 1 && p.dump && u >= main_begin) {
      const int64_t at = static_cast<int64_t>(batch_head) * p.chunks + (Reverse ? p.chunks - 1 - u : u);
      slice.write_dump(p.dump + (at * 4 + slice.slice) * (D * D / 4 / 8));
    }
    slot = slot + 1 == Stages ? 0 : slot + 1;
  }

  if (StateOnly) {
    slice.store(p.slots + (static_cast<int64_t>(batch_head) * p.pieces + run) * D * D, D, 1);
    if (thread == 0) p.piece_decay[batch_head * p.pieces + run] = exact ? 0.f : exp2_fast(passed);
  } else if (branch == 0 && p.state_out && end == p.chunks) {
    slice.store(p.state_out + static_cast<int64_t>(batch_head) * D * D, p.value_stride, p.key_stride);
  }
}

}  // namespace flashmorph::kernels::cuda
