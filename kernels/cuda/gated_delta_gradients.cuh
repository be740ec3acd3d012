// SPDX-License-Identifier: Apache-2.0
// The gradients of one chunk of the gated delta rule, all chunks at once, from the states before
// and the gradients of the states after it.
#pragma once

#include "kernels/cuda/gated_delta_fragments.cuh"

namespace flashmorph::kernels::cuda {

struct DeltaGradients {
  View query, key, value, d_output, dq, dk, dv;
  View d_log_decay, d_beta;  // [B, T, H] fp32
  const float* gates;        // of delta_prepare_kernel
  const uint16_t* states;    // S at chunk starts, dS at chunk ends: [B H][chunks][D][D]
  const uint16_t* adjoints;
  const uint16_t* writes;  // V', dX: [B H][chunks][64][D]
  const uint16_t* d_writes;
  float log2_scale;
  int tokens, heads, chunks;
};

template <int D>
struct DeltaGradientsLayout {
  static constexpr int kTile = kChunk * D * 2, kPair = kChunk * kChunk * 2;
  // dX (at the end partial sums), V', dO (then Q), S (then dS), K, dP, E, gates
  static constexpr int kWritesAt = kTile, kOutputAt = 2 * kTile, kStateAt = 3 * kTile;
  static constexpr int kKeyAt = kStateAt + D * D * 2, kPairsAt = kKeyAt + kTile;
  static constexpr int kErasesAt = kPairsAt + kPair, kGatesAt = kErasesAt + kPair;
  static constexpr int kBytes = kGatesAt + 4 * kChunk * 4;
};

// <c_i, x_i> over the 16 columns of a block, for rows quad and quad + 8
__device__ __forceinline__ void add_dot(float (&dot)[2], const float (&c)[2][4],
                                        const uint32_t (&x)[4]) {
#pragma unroll
  for (int n = 0; n < 2; ++n)
#pragma unroll
    for (int low = 0; low < 2; ++low)
      dot[low] +=
          bf16_low(x[2 * n + low]) * c[n][2 * low] + bf16_high(x[2 * n + low]) * c[n][2 * low + 1];
}

// With Y = dX S^T, dP = s G * tril(dO V'^T), E = -G * stril(dX V'^T) (method 2.4):
//   dQ = s ga o (dO S^T) + dP K          dV = beta o dX
//   Z  = E K - ga o Y                    d_beta = <dX, V> + <K, Z>
//   dK = beta o Z + r o (V' dS^T) + dP^T Q + E^T (beta o K)
//   d_log_decay = reverse sum of <Q, dQ> + <K, beta o Z> - <K, dK - beta o Z>, the last token with
//                 <dS, state after the chunk> = gC <dS, S> + sum <K, r o (V' dS^T)> on top
// grid (B H, chunks), 256 threads: warp w has rows 16 (w / 2) .. and one half of the columns.
template <int D>
__global__ void __launch_bounds__(256, 2)
    delta_gradients_kernel(const __grid_constant__ DeltaGradients p) {
  using Layout = DeltaGradientsLayout<D>;
  constexpr int kBlocks = D / 32, kThreads = 256;
  unsigned char* memory = shared_memory();
  const uint32_t base = shared_address(memory);
  const uint32_t d_writes = base, writes = base + Layout::kWritesAt;
  const uint32_t d_output = base + Layout::kOutputAt, query = d_output;
  const uint32_t state = base + Layout::kStateAt, key = base + Layout::kKeyAt;
  const uint32_t pairs = base + Layout::kPairsAt, erases = base + Layout::kErasesAt;
  auto* b = reinterpret_cast<float*>(memory + Layout::kGatesAt);
  const float* beta = b + kChunk;
  float* value_dots = b + 2 * kChunk;
  float* crossing = b + 3 * kChunk;  // one partial sum per warp
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int row_block = warp / 2, half = warp % 2, row0 = row_block * 16, block0 = half * kBlocks;
  const int quad = lane / 4, c2 = 2 * (lane & 3);
  const int batch_head = static_cast<int>(blockIdx.x), chunk = static_cast<int>(blockIdx.y);
  const int batch = batch_head / p.heads, head = batch_head % p.heads;
  const int64_t token0 = static_cast<int64_t>(chunk) * kChunk;
  const int64_t index = static_cast<int64_t>(batch_head) * p.chunks + chunk;
  const int valid = min(kChunk, p.tokens - chunk * kChunk);
  auto start = [&](const View& view) {
    return static_cast<uint16_t*>(view.data) + batch * view.batch + head * view.head +
           token0 * view.token;
  };
  auto load_state = [&](const uint16_t* from) {
#pragma unroll
    for (int i = 0; i < D / 64; ++i)
      load_tile<D, kThreads>(state + i * Layout::kTile, from + index * D * D + i * 64 * D, D, 64,
                             thread);
  };
  load_tile<D, kThreads>(d_writes, p.d_writes + index * kChunk * D, D, 64, thread);
  load_tile<D, kThreads>(writes, p.writes + index * kChunk * D, D, 64, thread);
  load_tile<D, kThreads>(d_output, start(p.d_output), p.d_output.token, valid, thread);
  if (thread < 32)
    copy_async(base + Layout::kGatesAt + thread * 16, p.gates + index * kGateFloats + thread * 4);
  copy_commit();
  load_state(p.states);
  load_tile<D, kThreads>(key, start(p.key), p.key.token, valid, thread);
  copy_commit();
  uint4 v[kBlocks];  // a thread has every fourth 16-byte column of a row
  const int own_row = thread / 4, own_column = thread % 4;
#pragma unroll
  for (int i = 0; i < kBlocks; ++i)
    v[i] = own_row < valid
               ? *reinterpret_cast<const uint4*>(start(p.value) + own_row * p.value.token +
                                                 (own_column + 4 * i) * 8)
               : make_uint4(0, 0, 0, 0);
  copy_wait<1>();
  __syncthreads();

  {  // dV, and what d_beta has of the values
    const float write = beta[own_row];
    float dot = 0.f;
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      const uint4 word =
          *reinterpret_cast<const uint4*>(memory + tile_offset(own_row, own_column + 4 * i));
      auto step = [&](uint32_t x, uint32_t y) {
        dot += bf16_low(x) * bf16_low(y) + bf16_high(x) * bf16_high(y);
        return pack_bf16(write * bf16_low(x), write * bf16_high(x));
      };
      const uint4 to = make_uint4(step(word.x, v[i].x), step(word.y, v[i].y), step(word.z, v[i].z),
                                  step(word.w, v[i].w));
      if (own_row < valid)
        *reinterpret_cast<uint4*>(start(p.dv) + own_row * p.dv.token + (own_column + 4 * i) * 8) =
            to;
    }
    dot += __shfl_xor_sync(0xffffffffu, dot, 1);
    dot += __shfl_xor_sync(0xffffffffu, dot, 2);
    if (own_column == 0) value_dots[own_row] = dot;
  }
  const float b_low = b[row0 + quad], b_high = b[row0 + quad + 8];
  {  // dP in the warps of the left half, E in the others
    const uint32_t left = half ? d_writes : d_output;
    float sum[4][2][4] = {};
#pragma unroll 2
    for (int k = 0; k < D / 16; ++k) {
      uint32_t a[4], x[4];
      load_matrix(a, rows_first(left, row0, k, lane));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        if (j > row_block) continue;
        load_matrix(x, columns_first(writes, j * 16, k, lane));
        multiply_add_block(sum[j], a, x);
      }
    }
    const float factor = half ? 0.f : p.log2_scale, sign = half ? -1.f : 1.f;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (j > row_block) continue;
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const int column = j * 16 + n * 8 + c2;
#pragma unroll
        for (int low = 0; low < 2; ++low) {
          const int past = row0 + quad + 8 * low - half - column;  // E has no diagonal
          const float b_i = (low ? b_high : b_low) + factor;
          float* x = &sum[j][n][2 * low];
          x[0] = past >= 0 ? sign * x[0] * exp2_fast(b_i - b[column]) : 0.f;
          x[1] = past >= 1 ? sign * x[1] * exp2_fast(b_i - b[column + 1]) : 0.f;
        }
      }
      uint32_t words[4];
      pack_block(words, sum[j]);
      store_matrix(rows_first(half ? erases : pairs, row0, j, lane), words);
    }
  }
  copy_wait<0>();
  __syncthreads();

  // rows of a bf16 tensor, sixteen columns at a time
  auto write_rows = [&](const View& view, const float(&c)[kBlocks][2][4]) {
#pragma unroll
    for (int low = 0; low < 2; ++low) {
      const int row = row0 + quad + 8 * low;
      if (row >= valid) continue;
      uint16_t* to = start(view) + row * view.token + block0 * 16 + c2;
#pragma unroll
      for (int m = 0; m < kBlocks; ++m)
#pragma unroll
        for (int n = 0; n < 2; ++n)
          *reinterpret_cast<uint32_t*>(to + m * 16 + n * 8) =
              pack_bf16(c[m][n][2 * low], c[m][n][2 * low + 1]);
    }
  };
  auto state_rows = [&](int m) {  // the tile that has row 16 (block0 + m) of the state
    const int row = (block0 + m) * 16;
    return state + row / 64 * Layout::kTile + row % 64 * 128;
  };
  float query_dot[2] = {}, erase_dot[2] = {}, write_dot[2] = {}, entry_dot[2] = {};
  float z[kBlocks][2][4] = {};
  {
    float dq[kBlocks][2][4] = {};
#pragma unroll 1
    for (int k = 0; k < D / 16; ++k) {
      uint32_t a[4], a_writes[4], s[4];
      load_matrix(a, rows_first(d_output, row0, k, lane));
      load_matrix(a_writes, rows_first(d_writes, row0, k, lane));
#pragma unroll
      for (int m = 0; m < kBlocks; ++m) {
        load_matrix(s, columns_first(state_rows(m), 0, k, lane));
        multiply_add_block(dq[m], a, s);
        multiply_add_block(z[m], a_writes, s);
      }
    }
    const float ga_low = exp2_fast(b_low), ga_high = exp2_fast(b_high);
#pragma unroll
    for (int m = 0; m < kBlocks; ++m) {
      scale_rows(dq[m], exp2_fast(b_low + p.log2_scale), exp2_fast(b_high + p.log2_scale));
      scale_rows(z[m], -ga_low, -ga_high);
    }
#pragma unroll 1
    for (int j = 0; j <= row_block; ++j) {
      uint32_t a[4], a_erases[4], x[4];
      load_matrix(a, rows_first(pairs, row0, j, lane));
      load_matrix(a_erases, rows_first(erases, row0, j, lane));
#pragma unroll
      for (int m = 0; m < kBlocks; ++m) {
        load_matrix_transposed(x, rows_first(key, j * 16, block0 + m, lane));
        multiply_add_block(dq[m], a, x);
        multiply_add_block(z[m], a_erases, x);
      }
    }
#pragma unroll
    for (int m = 0; m < kBlocks; ++m) {
      uint32_t x[4];
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int low = 0; low < 2; ++low) {
          const int row = row0 + quad + 8 * low;
          x[2 * n + low] =
              row < valid
                  ? *reinterpret_cast<const uint32_t*>(start(p.query) + row * p.query.token +
                                                       (block0 + m) * 16 + n * 8 + c2)
                  : 0u;
        }
      add_dot(query_dot, dq[m], x);
    }
    write_rows(p.dq, dq);
  }
#pragma unroll
  for (int m = 0; m < kBlocks; ++m) {
    uint32_t x[4];
    load_matrix(x, rows_first(key, row0, block0 + m, lane));
    add_dot(erase_dot, z[m], x);
    scale_rows(z[m], beta[row0 + quad], beta[row0 + quad + 8]);
  }
  __syncthreads();

  // the second half: dS in place of S, Q in place of dO
  load_state(p.adjoints);
  load_tile<D, kThreads>(query, start(p.query), p.query.token, valid, thread);
  copy_commit();
  constexpr int kVectors = D * D / 8 / kThreads;
  uint4 before[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i)
    before[i] =
        *reinterpret_cast<const uint4*>(p.states + index * D * D + (thread + i * kThreads) * 8);
  copy_wait<0>();
  __syncthreads();
  {
    float dot = 0.f;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int row = (thread + i * kThreads) / (D / 8), column = (thread + i * kThreads) % (D / 8);
      const uint4 word = *reinterpret_cast<const uint4*>(
          memory + Layout::kStateAt + row / 64 * Layout::kTile + tile_offset(row % 64, column));
      auto step = [&](uint32_t x, uint32_t y) {
        dot += bf16_low(x) * bf16_low(y) + bf16_high(x) * bf16_high(y);
      };
      step(word.x, before[i].x);
      step(word.y, before[i].y);
      step(word.z, before[i].z);
      step(word.w, before[i].w);
    }
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2)
      dot += __shfl_xor_sync(0xffffffffu, dot, distance);
    if (lane == 0) crossing[warp] = dot;
  }
  {
    float dk[kBlocks][2][4] = {};
#pragma unroll 1
    for (int k = 0; k < D / 16; ++k) {
      uint32_t a[4], s[4];
      load_matrix(a, rows_first(writes, row0, k, lane));
#pragma unroll
      for (int m = 0; m < kBlocks; ++m) {
        load_matrix(s, columns_first(state_rows(m), 0, k, lane));
        multiply_add_block(dk[m], a, s);
      }
    }
    const float total = b[kChunk - 1];
    const float r_low = exp2_fast(total - b_low), r_high = exp2_fast(total - b_high);
#pragma unroll
    for (int m = 0; m < kBlocks; ++m) {
      uint32_t x[4];
      scale_rows(dk[m], r_low, r_high);
      load_matrix(x, rows_first(key, row0, block0 + m, lane));
      add_dot(entry_dot, dk[m], x);
    }
#pragma unroll 1
    for (int i = row_block; i < 4; ++i) {
      uint32_t a[4], a_erases[4], x[4];
      load_matrix_transposed(a, columns_first(pairs, i * 16, row_block, lane));
      load_matrix_transposed(a_erases, columns_first(erases, i * 16, row_block, lane));
      const float* write = beta + i * 16 + c2;
#pragma unroll
      for (int e = 0; e < 4; ++e)
        a_erases[e] = pack_bf16(bf16_low(a_erases[e]) * write[e / 2 * 8],
                                bf16_high(a_erases[e]) * write[e / 2 * 8 + 1]);
#pragma unroll
      for (int m = 0; m < kBlocks; ++m) {
        load_matrix_transposed(x, rows_first(query, i * 16, block0 + m, lane));
        multiply_add_block(dk[m], a, x);
        load_matrix_transposed(x, rows_first(key, i * 16, block0 + m, lane));
        multiply_add_block(dk[m], a_erases, x);
      }
    }
#pragma unroll
    for (int m = 0; m < kBlocks; ++m) {
      uint32_t x[4];
      load_matrix(x, rows_first(key, row0, block0 + m, lane));
      add_dot(write_dot, dk[m], x);
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) dk[m][n][e] += z[m][n][e];
    }
    write_rows(p.dk, dk);
  }

  auto* parts = reinterpret_cast<float*>(memory);  // [half][kind][64], over dX
#pragma unroll
  for (int low = 0; low < 2; ++low) {
    float dots[4] = {query_dot[low], erase_dot[low], write_dot[low], entry_dot[low]};
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      dots[e] += __shfl_xor_sync(0xffffffffu, dots[e], 1);
      dots[e] += __shfl_xor_sync(0xffffffffu, dots[e], 2);
      if ((lane & 3) == 0) parts[(half * 4 + e) * kChunk + row0 + quad + 8 * low] = dots[e];
    }
  }
  __syncthreads();
  if (warp != 0) return;
  float db[2], d_beta[2], entry = 0.f;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = 2 * lane + i;
    auto part = [&](int kind) {
      return parts[kind * kChunk + row] + parts[(4 + kind) * kChunk + row];
    };
    d_beta[i] = value_dots[row] + part(1);
    db[i] = part(0) + beta[row] * part(1) - part(2);
    entry += part(3);
  }
  float sum = db[0] + db[1];
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const float other = __shfl_down_sync(0xffffffffu, sum, distance);
    if (lane + distance < 32) sum += other;
    entry += __shfl_xor_sync(0xffffffffu, entry, distance);
  }
  float inner = 0.f;
#pragma unroll
  for (int w = 0; w < 8; ++w) inner += crossing[w];
  sum += entry + exp2_fast(b[kChunk - 1]) * inner;
  auto gate = [&](const View& view, int row) {
    return static_cast<float*>(view.data) + batch * view.batch + head * view.head +
           (token0 + row) * view.token;
  };
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    const int row = 2 * lane + i;
    if (row >= valid) continue;
    *gate(p.d_log_decay, row) = i ? sum - db[0] : sum;
    *gate(p.d_beta, row) = d_beta[i];
  }
}

}  // namespace flashmorph::kernels::cuda
