// SPDX-License-Identifier: Apache-2.0
// The walk over the chunks of a sequence that carries the state of the gated delta rule, or from
// the end its gradient. A warp carries sixteen value columns on its own: the sums of one product
// are the left operand of the next, so nothing passes between warps.
#pragma once

#include "kernels/cuda/gated_delta_fragments.cuh"

namespace flashmorph::kernels::cuda {

enum class DeltaSweepKind {
  outputs,  // forward: outputs, state at the end
  states,   // forward: states at chunk starts and writes V'
  reverse   // backward: gradients of the states at chunk ends and of the writes' right-hand sides
};

// With the notation of method 2.4, x o D for rows scaled, r_i = decay from token i to the chunk's
// end:
//   forward: V' = T (beta o (V - ga o K S)),  S <- gC S + K^T (r o V'),  O = s ga o Q S + P V'
//   reverse: dX = T^T (r o K dS + P^T dO),  dS <- gC dS + K^T (-ga beta o dX) + Q^T (s ga o dO)
// all of it transposed in registers: rows are value columns.
struct DeltaSweep {
  View query, key, value;  // value: v, or the gradient of the output
  View out;                // outputs
  const float* gates;      // gates, T and P of delta_prepare_kernel
  const uint16_t* solve;
  const uint16_t* pairs;
  uint16_t* states;       // [B H][chunks][D][D] bf16: S at chunk starts, or dS at chunk ends
  uint16_t* writes;       // [B H][chunks][64][D] bf16: V', or dX
  const float* state_in;  // [B H][D][D]; may be null
  float* state_out;       // the same; may be null
  float log2_scale;
  int tokens, heads, chunks;
};

constexpr int kLoaders = 128;  // threads that bring tiles and carry results away

template <int D, DeltaSweepKind Kind, int Warps, int Stages>
struct DeltaSweepLayout {
  static constexpr int kColumns = 16 * Warps;
  static constexpr int kTile = kChunk * D * 2, kPair = kChunk * kChunk * 2;
  static constexpr int kNarrow = kChunk * kColumns * 2;
  static constexpr bool kReverse = Kind == DeltaSweepKind::reverse;
  static constexpr bool kOutputs = Kind == DeltaSweepKind::outputs;
  // outputs are left to a second set of warps, one chunk behind
  static constexpr int kHelpers = kOutputs ? Warps : 0;
  static constexpr int kThreads = 32 * (Warps + kHelpers) + kLoaders;
  // one stage: keys, queries, T, P, values, gates
  static constexpr int kQueryAt = kTile, kSolveAt = kQueryAt + (kReverse ? kTile : 0);
  static constexpr int kPairsAt = kSolveAt + kPair, kValueAt = kPairsAt + (kReverse ? kPair : 0);
  static constexpr int kGatesAt = kValueAt + kNarrow, kStage = kGatesAt + kGateFloats * 4;
  // one stage of what only outputs need: queries, P, gates
  static constexpr int kLateAt = Stages * kStage, kLatePairsAt = kTile;
  static constexpr int kLateGatesAt = kLatePairsAt + kPair;
  static constexpr int kLate = kOutputs ? kLateGatesAt + kGateFloats * 4 : 0;
  // what a warp passes to its helper, in register order: S and V'
  static constexpr int kPassAt = kLateAt + Stages * kLate;
  static constexpr int kPassWritesAt = D * 32, kPassOne = kPassWritesAt + kChunk * 32;
  static constexpr int kPass = kOutputs ? Warps * kPassOne : 0;
  // then two sets of results: of the chunk at hand and of the one that is carried away
  static constexpr int kResultsAt = kPassAt + 2 * kPass, kStateAt = kNarrow;
  static constexpr int kResults = kNarrow + (kOutputs ? 0 : D * kColumns * 2);
  static constexpr int kBytes = kResultsAt + 2 * kResults;
};

// `block`: of B H (D / 16 / Warps)
template <int D, DeltaSweepKind Kind, int Warps, int Stages>
__device__ __forceinline__ void walk(const DeltaSweep& p, int block) {
  using Layout = DeltaSweepLayout<D, Kind, Warps, Stages>;
  constexpr bool kReverse = Layout::kReverse, kOutputs = Layout::kOutputs;
  constexpr int kColumns = Layout::kColumns, kSlices = D / kColumns;
  unsigned char* memory = shared_memory();
  const uint32_t base = shared_address(memory);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int batch_head = block / kSlices;
  const int column0 = block % kSlices * kColumns;
  const int batch = batch_head / p.heads, head = batch_head % p.heads;
  const auto chunk_of = [&](int u) { return kReverse ? p.chunks - 1 - u : u; };

  // Every chunk all threads meet: its tiles have landed, and what was done with the chunk before
  // is complete. Helpers are one chunk behind, results are carried away one chunk after that.
  constexpr int kLag = kOutputs ? 1 : 0;
  const int meetings = p.chunks + 1 + kLag;
  const auto meet = [] {
    __syncthreads();
    if constexpr (Stages == 1) __syncthreads();
  };

  if (warp >= Warps + Layout::kHelpers) {
    const int loader = thread - 32 * (Warps + Layout::kHelpers);
    auto start = [&](const View& view, int chunk) {
      return static_cast<uint16_t*>(view.data) + batch * view.batch + head * view.head +
             static_cast<int64_t>(chunk) * kChunk * view.token;
    };
    auto issue = [&](int u, int slot) {
      const int chunk = chunk_of(u);
      const uint32_t stage = base + slot * Layout::kStage;
      const int valid = min(kChunk, p.tokens - chunk * kChunk);
      const int64_t index = static_cast<int64_t>(batch_head) * p.chunks + chunk;
      load_tile<D, kLoaders>(stage, start(p.key, chunk), p.key.token, valid, loader);
      load_tile<64, kLoaders>(stage + Layout::kSolveAt, p.solve + index * (kChunk * kChunk), 64, 64,
                              loader);
      if constexpr (kReverse) {
        load_tile<D, kLoaders>(stage + Layout::kQueryAt, start(p.query, chunk), p.query.token,
                               valid, loader);
        load_tile<64, kLoaders>(stage + Layout::kPairsAt, p.pairs + index * (kChunk * kChunk), 64,
                                64, loader);
      }
      constexpr int kAcross = 2 * Warps;
      const uint16_t* value = start(p.value, chunk) + column0 + loader % kAcross * 8;
#pragma unroll
      for (int i = 0; i < kChunk * kAcross / kLoaders; ++i) {
        const int row = loader / kAcross + i * (kLoaders / kAcross);
        copy_async_or_zero(
            stage + Layout::kValueAt + narrow_offset<kColumns>(row, loader % kAcross),
            value + (row < valid ? row * p.value.token : 0), row < valid);
      }
      if (loader < kGateFloats / 4)
        copy_async(stage + Layout::kGatesAt + loader * 16,
                   p.gates + index * kGateFloats + loader * 4);
    };
    auto issue_late = [&](int chunk, int slot) {
      const uint32_t stage = base + Layout::kLateAt + slot * Layout::kLate;
      const int64_t index = static_cast<int64_t>(batch_head) * p.chunks + chunk;
      load_tile<D, kLoaders>(stage, start(p.query, chunk), p.query.token,
                             min(kChunk, p.tokens - chunk * kChunk), loader);
      load_tile<64, kLoaders>(stage + Layout::kLatePairsAt, p.pairs + index * (kChunk * kChunk), 64,
                              64, loader);
      if (loader < kGateFloats / 4)
        copy_async(stage + Layout::kLateGatesAt + loader * 16,
                   p.gates + index * kGateFloats + loader * 4);
    };
    auto carry = [&](uint16_t* to, int64_t stride, const unsigned char* from, int rows, int valid) {
      constexpr int kAcross = 2 * Warps;
      to += column0 + loader % kAcross * 8;
#pragma unroll 4
      for (int row = loader / kAcross; row < rows; row += kLoaders / kAcross)
        if (row < valid)
          *reinterpret_cast<uint4*>(to + row * stride) = *reinterpret_cast<const uint4*>(
              from + narrow_offset<kColumns>(row, loader % kAcross));
    };
    auto carry_away = [&](int u) {
      const int chunk = chunk_of(u);
      const unsigned char* from = memory + Layout::kResultsAt + (u & 1) * Layout::kResults;
      const int64_t index = static_cast<int64_t>(batch_head) * p.chunks + chunk;
      if constexpr (kOutputs) {
        carry(start(p.out, chunk), p.out.token, from, kChunk, p.tokens - chunk * kChunk);
      } else {
        carry(p.writes + index * kChunk * D, D, from, kChunk, kChunk);
        carry(p.states + index * D * D, D, from + Layout::kStateAt, D, D);
      }
    };
    int free_slot = 0;
    auto issue_all = [&](int u) {  // of chunk u, and what helpers need of the chunk before
      if (u < p.chunks) issue(u, free_slot);
      if constexpr (kOutputs) {
        if (u > 0 && u <= p.chunks) issue_late(u - 1, free_slot == 0 ? Stages - 1 : free_slot - 1);
      }
      copy_commit();
      free_slot = free_slot + 1 == Stages ? 0 : free_slot + 1;
    };
    for (int u = 0; u < Stages - 1; ++u) issue_all(u);
#pragma unroll 1
    for (int u = 0; u < meetings; ++u) {
      if constexpr (Stages > 1) copy_wait<Stages - 2>();
      __syncthreads();
      issue_all(u + Stages - 1);
      if constexpr (Stages == 1) {
        copy_wait<0>();
        __syncthreads();
      }
      if (u > kLag) carry_away(u - 1 - kLag);
    }
    return;
  }

  const int quad = lane / 4, c2 = 2 * (lane & 3);
  const float scale = exp2_fast(p.log2_scale);
  auto pass_of = [&](int u, int of_warp) {
    return reinterpret_cast<uint4*>(memory + Layout::kPassAt + (u & 1) * Layout::kPass +
                                    of_warp * Layout::kPassOne) +
           lane;
  };
  if constexpr (kOutputs) {
    if (warp >= Warps) {
      const int of_warp = warp - Warps;
      int slot = 0;
#pragma unroll 1
      for (int u = -1; u < meetings - 1; ++u) {  // the chunk whose outputs are due
        meet();
        if (u < 0 || u >= p.chunks) continue;
        const uint32_t query = base + Layout::kLateAt + slot * Layout::kLate;
        const uint32_t pairs = query + Layout::kLatePairsAt;
        const auto* ga =
            reinterpret_cast<const float*>(memory + (query - base) + Layout::kLateGatesAt) +
            2 * kChunk + c2;
        const uint4* state = pass_of(u, of_warp);
        const uint4* writes = state + Layout::kPassWritesAt / 16;
        float out[4][2][4] = {};
#pragma unroll
        for (int k = 0; k < D / 16; ++k) {
          const uint4 word = state[k * 32];
          const uint32_t a[4] = {word.x, word.y, word.z, word.w};
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            uint32_t x[4];
            load_matrix(x, columns_first(query, i * 16, k, lane));
            multiply_add_block(out[i], a, x);
          }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int n = 0; n < 2; ++n) {
            const float2 f = *reinterpret_cast<const float2*>(ga + (2 * i + n) * 8);
#pragma unroll
            for (int e = 0; e < 4; ++e) out[i][n][e] *= scale * (e & 1 ? f.y : f.x);
          }
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const uint4 word = writes[j * 32];
          const uint32_t a[4] = {word.x, word.y, word.z, word.w};
#pragma unroll
          for (int i = j; i < 4; ++i) {
            uint32_t x[4];
            load_matrix(x, columns_first(pairs, i * 16, j, lane));
            multiply_add_block(out[i], a, x);
          }
        }
        const uint32_t results = base + Layout::kResultsAt + (u & 1) * Layout::kResults;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          uint32_t words[4];
          pack_block(words, out[i]);
          store_matrix_transposed(narrow_columns_first<kColumns>(results, i * 16, of_warp, lane),
                                  words);
        }
        slot = slot + 1 == Stages ? 0 : slot + 1;
      }
      return;
    }
  }
  float state[D / 16][2][4];  // value rows, key columns
  const int64_t state_at =
      static_cast<int64_t>(batch_head) * D * D + c2 * D + column0 + warp * 16 + quad;
#pragma unroll
  for (int m = 0; m < D / 16; ++m)
#pragma unroll
    for (int n = 0; n < 2; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e)
        state[m][n][e] =
            p.state_in ? p.state_in[state_at + (m * 16 + n * 8 + (e & 1)) * D + 8 * (e >> 1)] : 0.f;

  int slot = 0;
#pragma unroll 1
  for (int u = 0; u < p.chunks; ++u) {
    meet();
    const uint32_t key = base + slot * Layout::kStage, query = key + Layout::kQueryAt;
    const uint32_t solve = key + Layout::kSolveAt, pairs = key + Layout::kPairsAt;
    const uint32_t value = key + Layout::kValueAt;
    const uint32_t results = base + Layout::kResultsAt + (u & 1) * Layout::kResults;
    const auto* gates =
        reinterpret_cast<const float*>(memory + slot * Layout::kStage + Layout::kGatesAt) + c2;
    // a gate of the two tokens 8 n + c2 ..
    auto gate = [&](int which, int n) {
      return *reinterpret_cast<const float2*>(gates + which * kChunk + n * 8);
    };
    const float decay = gates[3 * kChunk - 1 - c2];  // e^sum of the last token

    // 1. what the keys read from the state
    uint4* pass = pass_of(u, warp);
    float known[4][2][4] = {};
#pragma unroll
    for (int k = 0; k < D / 16; ++k) {
      uint32_t a[4];
      pack_block(a, state[k]);
      if constexpr (kOutputs)
        pass[k * 32] = make_uint4(a[0], a[1], a[2], a[3]);
      else
        store_matrix_transposed(
            narrow_columns_first<kColumns>(results + Layout::kStateAt, k * 16, warp, lane), a);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        uint32_t x[4];
        load_matrix(x, columns_first(key, i * 16, k, lane));
        multiply_add_block(known[i], a, x);
      }
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e) state[k][n][e] *= decay;
    }
    uint32_t v[4][4];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      load_matrix_transposed(v[j], narrow_columns_first<kColumns>(value, j * 16, warp, lane));
    if constexpr (kReverse) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const float2 r = gate(3, 2 * i + n);
#pragma unroll
          for (int e = 0; e < 4; ++e) known[i][n][e] *= e & 1 ? r.y : r.x;
        }
#pragma unroll
      for (int j = 0; j < 4; ++j)
#pragma unroll
        for (int i = 0; i <= j; ++i) {
          uint32_t x[4];
          load_matrix_transposed(x, rows_first(pairs, j * 16, i, lane));
          multiply_add_block(known[i], v[j], x);
        }
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const float2 write = gate(1, 2 * i + n), ga = gate(2, 2 * i + n);
#pragma unroll
          for (int low = 0; low < 2; ++low) {
            float* x = &known[i][n][2 * low];
            x[0] = write.x * (bf16_low(v[i][2 * n + low]) - ga.x * x[0]);
            x[1] = write.y * (bf16_high(v[i][2 * n + low]) - ga.y * x[1]);
          }
        }
    }

    // 2. through the triangle
    float write[4][2][4] = {};
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      uint32_t a[4];
      pack_block(a, known[j]);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (kReverse ? i > j : i < j) continue;
        uint32_t x[4];
        if constexpr (kReverse)
          load_matrix_transposed(x, rows_first(solve, j * 16, i, lane));
        else
          load_matrix(x, columns_first(solve, i * 16, j, lane));
        multiply_add_block(write[i], a, x);
      }
    }
    uint32_t plain[4][4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      pack_block(plain[j], write[j]);
      if constexpr (kOutputs)
        pass[Layout::kPassWritesAt / 16 + j * 32] =
            make_uint4(plain[j][0], plain[j][1], plain[j][2], plain[j][3]);
      else
        store_matrix_transposed(narrow_columns_first<kColumns>(results, j * 16, warp, lane),
                                plain[j]);
    }

    // 3. the state after the chunk
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      uint32_t a[4], reads[4];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        float2 f = gate(kReverse ? 2 : 3, 2 * j + n);
        if constexpr (kReverse) {
          const float2 beta = gate(1, 2 * j + n);
          const float2 g = make_float2(scale * f.x, scale * f.y);
#pragma unroll
          for (int low = 0; low < 2; ++low)
            reads[2 * n + low] =
                pack_bf16(g.x * bf16_low(v[j][2 * n + low]), g.y * bf16_high(v[j][2 * n + low]));
          f = make_float2(-beta.x * f.x, -beta.y * f.y);
        }
#pragma unroll
        for (int low = 0; low < 2; ++low)
          a[2 * n + low] = pack_bf16(f.x * write[j][n][2 * low], f.y * write[j][n][2 * low + 1]);
      }
#pragma unroll
      for (int m = 0; m < D / 16; ++m) {
        uint32_t x[4];
        load_matrix_transposed(x, rows_first(key, j * 16, m, lane));
        multiply_add_block(state[m], a, x);
        if constexpr (kReverse) {
          load_matrix_transposed(x, rows_first(query, j * 16, m, lane));
          multiply_add_block(state[m], reads, x);
        }
      }
    }

    slot = slot + 1 == Stages ? 0 : slot + 1;
  }
  for (int u = p.chunks; u < meetings; ++u) meet();

  if (p.state_out) {
#pragma unroll
    for (int m = 0; m < D / 16; ++m)
#pragma unroll
      for (int n = 0; n < 2; ++n)
#pragma unroll
        for (int e = 0; e < 4; ++e)
          p.state_out[state_at + (m * 16 + n * 8 + (e & 1)) * D + 8 * (e >> 1)] = state[m][n][e];
  }
}

template <int D, int Warps, int Stages>
__global__ void __launch_bounds__(64 * Warps + kLoaders, 1)
    delta_outputs_kernel(const __grid_constant__ DeltaSweep p) {
  walk<D, DeltaSweepKind::outputs, Warps, Stages>(p, static_cast<int>(blockIdx.x));
}

// The two walks of the backward need nothing of each other: side by side they fill the device
// twice as well.
template <int D, int Warps, int Stages>
__global__ void __launch_bounds__(32 * Warps + kLoaders, 1)
    delta_both_ways_kernel(const __grid_constant__ DeltaSweep forth,
                           const __grid_constant__ DeltaSweep back) {
  const int block = static_cast<int>(blockIdx.x) / 2;
  if (blockIdx.x % 2 == 0)
    walk<D, DeltaSweepKind::reverse, Warps, Stages>(back, block);
  else
    walk<D, DeltaSweepKind::states, Warps, Stages>(forth, block);
}

}  // namespace flashmorph::kernels::cuda
