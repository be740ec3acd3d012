// SPDX-License-Identifier: Apache-2.0
// The walk over the chunks of a sequence that carries the state of the gated delta rule, or from
// the end its gradient: a block takes 32 value columns of one head, all its warps one chunk.
#pragma once

#include "kernels/cuda/gated_delta_fragments.cuh"

namespace flashmorph::kernels::cuda {

enum class DeltaSweepKind {
  outputs,  // forward: outputs, state at the end
  states,   // forward: states at chunk starts and writes V'
  reverse   // backward: gradients of the states at chunk ends and of the writes' right-hand sides
};

// With the notation of method 2.4, D o x for rows scaled, r_i = decay from token i to the chunk's
// end:
//   forward: V' = T (beta o (V - ga o K S)),  S <- gC S + K^T (r o V'),  O = s ga o Q S + P V'
//   reverse: dX = T^T (r o K dS + P^T dO),  dS <- gC dS + K^T (-ga beta o dX) + Q^T (s ga o dO)
struct DeltaSweep {
  View query, key, value;   // value: v, or the gradient of the output
  View out;                 // outputs
  const float* cumulative;  // gates, T and P of delta_prepare_kernel
  const float* beta;
  const uint16_t* solve;
  const uint16_t* pairs;
  uint16_t* states;       // [B H][chunks][D][D] bf16: S at chunk starts, or dS at chunk ends
  uint16_t* writes;       // [B H][chunks][64][D] bf16: V', or dX
  const float* state_in;  // [B H][D][D]; may be null
  float* state_out;       // the same; may be null
  float log2_scale;
  int tokens, heads, chunks;
};

template <int D, DeltaSweepKind Kind, int Stages>
struct DeltaSweepLayout {
  static constexpr int kTile = kChunk * D * 2, kPair = kChunk * kChunk * 2;
  static constexpr int kSlim = kChunk * kSlimColumns * 2;
  static constexpr bool kWithQuery = Kind != DeltaSweepKind::states;
  // one stage: keys, queries, T, P, values, gates
  static constexpr int kQueryAt = kTile, kSolveAt = kQueryAt + (kWithQuery ? kTile : 0);
  static constexpr int kPairsAt = kSolveAt + kPair, kValueAt = kPairsAt + (kWithQuery ? kPair : 0);
  static constexpr int kGatesAt = kValueAt + kSlim, kStage = kGatesAt + 2 * kChunk * 4;
  // then the state in bf16 and four slim tiles
  static constexpr int kStateAt = Stages * kStage, kRightAt = kStateAt + D * kSlimColumns * 2;
  static constexpr int kPlainAt = kRightAt + kSlim, kScaledAt = kPlainAt + kSlim;
  static constexpr int kReadAt = kScaledAt + kSlim;
  static constexpr int kBytes = kReadAt + (Kind == DeltaSweepKind::reverse ? kSlim : 0);
};

// grid B H (D / 32), 256 threads. Warp w has rows 16 (w / 2) .. and columns 16 (w % 2) .. of what
// is a chunk long, and of the state rows 16 w .. (D = 128) or the same block (D = 64).
template <int D, DeltaSweepKind Kind, int Stages>
__global__ void __launch_bounds__(256, 1) delta_sweep_kernel(const __grid_constant__ DeltaSweep p) {
  using Layout = DeltaSweepLayout<D, Kind, Stages>;
  constexpr bool kReverse = Kind == DeltaSweepKind::reverse;
  constexpr bool kOutputs = Kind == DeltaSweepKind::outputs;
  constexpr int kThreads = 256, kSlices = D / kSlimColumns, kStateBlocks = D / 64;
  unsigned char* memory = shared_memory();
  const uint32_t base = shared_address(memory);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int batch_head = static_cast<int>(blockIdx.x) / kSlices;
  const int column0 = static_cast<int>(blockIdx.x) % kSlices * kSlimColumns;
  const int batch = batch_head / p.heads, head = batch_head % p.heads;
  const int row_block = warp / 2, half = warp % 2, row0 = row_block * 16;
  const int state_block = D == 128 ? warp : row_block, half0 = D == 128 ? 0 : half;
  const int quad = lane / 4, c2 = 2 * (lane & 3);
  const uint32_t state_tile = base + Layout::kStateAt, right = base + Layout::kRightAt;
  const uint32_t plain = base + Layout::kPlainAt, scaled = base + Layout::kScaledAt;
  const uint32_t read = base + Layout::kReadAt;

  float state[kStateBlocks][2][4];
  const int64_t state_at = static_cast<int64_t>(batch_head) * D * D +
                           (state_block * 16 + quad) * D + column0 + half0 * 16 + c2;
#pragma unroll
  for (int m = 0; m < kStateBlocks; ++m)
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int low = 0; low < 2; ++low) {
        float2 pair = make_float2(0.f, 0.f);
        if (p.state_in)
          pair = *reinterpret_cast<const float2*>(p.state_in + state_at + 8 * low * D + m * 16 +
                                                  n * 8);
        state[m][n][2 * low] = pair.x;
        state[m][n][2 * low + 1] = pair.y;
      }
  auto share_state = [&] {
#pragma unroll
    for (int m = 0; m < kStateBlocks; ++m) {
      uint32_t words[4];
      pack_block(words, state[m]);
      store_matrix(slim_rows_first(state_tile, state_block * 16, half0 + m, lane), words);
    }
  };
  share_state();

  auto start = [&](const View& view, int chunk) {
    return static_cast<const uint16_t*>(view.data) + batch * view.batch + head * view.head +
           static_cast<int64_t>(chunk) * kChunk * view.token;
  };
  auto issue = [&](int chunk, int slot) {
    const uint32_t stage = base + slot * Layout::kStage;
    const int valid = min(kChunk, p.tokens - chunk * kChunk);
    const int64_t index = static_cast<int64_t>(batch_head) * p.chunks + chunk;
    load_tile<D, kThreads>(stage, start(p.key, chunk), p.key.token, valid, thread);
    if constexpr (Layout::kWithQuery)
      load_tile<D, kThreads>(stage + Layout::kQueryAt, start(p.query, chunk), p.query.token, valid,
                             thread);
    load_tile<64, kThreads>(stage + Layout::kSolveAt, p.solve + index * (kChunk * kChunk), 64, 64,
                            thread);
    if constexpr (Layout::kWithQuery)
      load_tile<64, kThreads>(stage + Layout::kPairsAt, p.pairs + index * (kChunk * kChunk), 64, 64,
                              thread);
    const int row = thread / 4, column = thread % 4;
    const uint16_t* value = start(p.value, chunk) + column0 + column * 8;
    copy_async_or_zero(stage + Layout::kValueAt + slim_offset(row, column),
                       value + (row < valid ? row * p.value.token : 0), row < valid);
    if (thread < 32)
      copy_async(stage + Layout::kGatesAt + thread * 16,
                 (thread < 16 ? p.cumulative : p.beta) + index * kChunk + thread % 16 * 4);
  };
  // a slim tile to rows of D columns in device memory
  auto dump = [&](uint16_t* to, int tile_at, int rows) {
    for (int i = thread; i < rows * 4; i += kThreads)
      *reinterpret_cast<uint4*>(to + static_cast<int64_t>(i / 4) * D + column0 + i % 4 * 8) =
          *reinterpret_cast<const uint4*>(memory + tile_at + slim_offset(i / 4, i % 4));
  };

  int slot = 0, free_slot = 0;
#pragma unroll 1
  for (int u = -(Stages - 1); u < p.chunks; ++u) {
    const auto chunk_of = [&](int i) { return kReverse ? p.chunks - 1 - i : i; };
    if constexpr (Stages == 1) {
      __syncthreads();
      issue(chunk_of(u), 0);
      copy_commit();
      copy_wait<0>();
      __syncthreads();
    } else {
      copy_wait<Stages - 2>();
      __syncthreads();
      if (u + Stages - 1 < p.chunks) issue(chunk_of(u + Stages - 1), free_slot);
      copy_commit();
      free_slot = free_slot + 1 == Stages ? 0 : free_slot + 1;
      if (u < 0) continue;
    }
    const int chunk = chunk_of(u);
    const int64_t index = static_cast<int64_t>(batch_head) * p.chunks + chunk;
    const uint32_t key = base + slot * Layout::kStage, query = key + Layout::kQueryAt;
    const uint32_t solve = key + Layout::kSolveAt, pairs = key + Layout::kPairsAt;
    const uint32_t value = key + Layout::kValueAt;
    const auto* b =
        reinterpret_cast<const float*>(memory + slot * Layout::kStage + Layout::kGatesAt);
    const float* beta = b + kChunk;
    const float total = b[kChunk - 1];
    const float b_low = b[row0 + quad], b_high = b[row0 + quad + 8];
    const float beta_low = beta[row0 + quad], beta_high = beta[row0 + quad + 8];

    // 1. what the keys (and queries) read from the state
    float known[2][2][4] = {}, out[2][4] = {};
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      uint32_t a[4], s[4];
      load_matrix_transposed(s, slim_rows_first(state_tile, k * 16, half, lane));
      load_matrix(a, rows_first(key, row0, k, lane));
      multiply_add_block(known[k & 1], a, s);
      if constexpr (kOutputs) {
        load_matrix(a, rows_first(query, row0, k, lane));
        multiply_add_block(out, a, s);
      }
    }
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) known[0][n][e] += known[1][n][e];
    if constexpr (kReverse) {
      scale_rows(known[0], exp2_fast(total - b_low), exp2_fast(total - b_high));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (j < row_block) continue;
        uint32_t a[4], s[4];
        load_matrix_transposed(a, columns_first(pairs, j * 16, row_block, lane));
        load_matrix_transposed(s, slim_rows_first(value, j * 16, half, lane));
        multiply_add_block(known[0], a, s);
      }
    } else {
      uint32_t v[4];
      load_matrix(v, slim_rows_first(value, row0, half, lane));
      scale_rows(known[0], exp2_fast(b_low), exp2_fast(b_high));
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int low = 0; low < 2; ++low) {
          const float write = low ? beta_high : beta_low;
          float* from = &known[0][n][2 * low];
          from[0] = write * (bf16_low(v[2 * n + low]) - from[0]);
          from[1] = write * (bf16_high(v[2 * n + low]) - from[1]);
        }
    }
    uint32_t words[4];
    pack_block(words, known[0]);
    store_matrix(slim_rows_first(right, row0, half, lane), words);
    if constexpr (kOutputs)
      scale_rows(out, exp2_fast(b_low + p.log2_scale), exp2_fast(b_high + p.log2_scale));
    if constexpr (kReverse) {  // s ga o dO, a thread eight columns
      const int row = thread / 4;
      const uint32_t at = slim_offset(row, thread % 4);
      uint4 word = *reinterpret_cast<const uint4*>(memory + (value - base) + at);
      const float f = exp2_fast(b[row] + p.log2_scale);
      auto times = [f](uint32_t x) { return pack_bf16(f * bf16_low(x), f * bf16_high(x)); };
      word = make_uint4(times(word.x), times(word.y), times(word.z), times(word.w));
      *reinterpret_cast<uint4*>(memory + Layout::kReadAt + at) = word;
    }
    if constexpr (!kOutputs) dump(p.states + index * D * D, Layout::kStateAt, D);
    __syncthreads();

    // 2. through the triangle
    float write[2][4] = {};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (kReverse ? j < row_block : j > row_block) continue;
      uint32_t a[4], s[4];
      if constexpr (kReverse)
        load_matrix_transposed(a, columns_first(solve, j * 16, row_block, lane));
      else
        load_matrix(a, rows_first(solve, row0, j, lane));
      load_matrix_transposed(s, slim_rows_first(right, j * 16, half, lane));
      multiply_add_block(write, a, s);
    }
    pack_block(words, write);
    store_matrix(slim_rows_first(plain, row0, half, lane), words);
    if constexpr (kReverse)
      scale_rows(write, -beta_low * exp2_fast(b_low), -beta_high * exp2_fast(b_high));
    else
      scale_rows(write, exp2_fast(total - b_low), exp2_fast(total - b_high));
    pack_block(words, write);
    store_matrix(slim_rows_first(scaled, row0, half, lane), words);
    __syncthreads();

    // 3. the state after the chunk
    const float decay = exp2_fast(total);
#pragma unroll
    for (int m = 0; m < kStateBlocks; ++m) scale_rows(state[m], decay, decay);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      uint32_t a[4], a_query[4], s[4];
      load_matrix_transposed(a, columns_first(key, k * 16, state_block, lane));
      if constexpr (kReverse)
        load_matrix_transposed(a_query, columns_first(query, k * 16, state_block, lane));
#pragma unroll
      for (int m = 0; m < kStateBlocks; ++m) {
        load_matrix_transposed(s, slim_rows_first(scaled, k * 16, half0 + m, lane));
        multiply_add_block(state[m], a, s);
        if constexpr (kReverse) {
          load_matrix_transposed(s, slim_rows_first(read, k * 16, half0 + m, lane));
          multiply_add_block(state[m], a_query, s);
        }
      }
    }
    share_state();

    if constexpr (kOutputs) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (j > row_block) continue;
        uint32_t a[4], s[4];
        load_matrix(a, rows_first(pairs, row0, j, lane));
        load_matrix_transposed(s, slim_rows_first(plain, j * 16, half, lane));
        multiply_add_block(out, a, s);
      }
      const int valid = min(kChunk, p.tokens - chunk * kChunk);
      uint16_t* to = const_cast<uint16_t*>(start(p.out, chunk)) + column0 + half * 16 + c2;
#pragma unroll
      for (int low = 0; low < 2; ++low) {
        const int row = row0 + quad + 8 * low;
        if (row < valid) {
#pragma unroll
          for (int n = 0; n < 2; ++n)
            *reinterpret_cast<uint32_t*>(to + row * p.out.token + n * 8) =
                pack_bf16(out[n][2 * low], out[n][2 * low + 1]);
        }
      }
    } else {
      dump(p.writes + index * kChunk * D, Layout::kPlainAt, kChunk);
    }
    slot = slot + 1 == Stages ? 0 : slot + 1;
  }

  if (p.state_out) {
#pragma unroll
    for (int m = 0; m < kStateBlocks; ++m)
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int low = 0; low < 2; ++low)
          *reinterpret_cast<float2*>(p.state_out + state_at + 8 * low * D + m * 16 + n * 8) =
              make_float2(state[m][n][2 * low], state[m][n][2 * low + 1]);
  }
}

}  // namespace flashmorph::kernels::cuda
