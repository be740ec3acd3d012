// SPDX-License-Identifier: Apache-2.0
// One sweep over a sequence with a D x D state in registers: forward, dQ, and dK with dV are all
// this kernel with other tensors in the roles of query, key and value.
#pragma once

#include "kernels/cuda/scalar_decay_slice.cuh"

namespace flashmorph::kernels::cuda {

constexpr float kForgotten = -24.f;  // log2 of a decay that no fp32 sum can see

// A branch computes  out_i = sum_j w_ij <query_i, key_j> value_j  over j <= i (forward in time) or
// j >= i (reverse), w_ij = scale * product of the decays between i and j * beta, with the state
// value^T key carried from chunk to chunk.
//   forward: (q, k, v)          dQ: (dO, v, k)          dV: (k, q, dO) reverse          dK: (v, dO,
//   q) reverse
// dV and dK share their tiles, so one kernel computes both in two branches of four warps each:
// tile 0 = query of branch 0, 1 = its key, value of branch 1, 2 = its value, key of branch 1, 3 =
// query of branch 1.
struct Sweep {
  View tile[4];
  View out[2];
  const float* fixed_decay;  // [H] natural log, or null
  const float* cumulative;   // [B H][chunks 64] log2, summed inside each chunk, or null
  const float* beta;         // [B H][chunks 64] or null
  float log2_scale;
  const float* state_in;  // [B H][D D] as [K][V] of the caller; may be null
  float* state_out;       // same layout
  bool value_major;       // are the rows of state_in and state_out the values of branch 0 (else its
                          // keys)?
  float* slots;           // [B H][pieces][D D] states at piece ends, value-major
  float*
      piece_decay;   // [B H][pieces] decay over the piece; 0: its state is exact, -1: not computed
  int* warm;         // [B H][segments] warm-up chunks of a segment; -1: its state comes from a slot
  View dot_with[2];  // when set, dots gets <out_i before beta, dot_with_i>
  float* dots[2];    // [B H][4][chunks 64], one partial sum per warp
  uint4* dump;  // states at chunk ends in register order, bf16; written in forward sweeps, read in
                // reverse
  float* crossing;  // [B H][chunks][4] partial <dS, S> at chunk ends
  int tokens, heads, batch_heads, chunks;
  int segment_chunks, piece_chunks, segments, pieces, max_warm;
};

// Chunks a segment must start early so that what came before is forgotten; -1 when more than
// max_warm.
template <bool Reverse>
__device__ __forceinline__ int warm_chunks(const Sweep& p, int batch_head, int segment,
                                           float decay) {
  const int before = segment * p.segment_chunks;
  if (!p.cumulative) {
    // a reverse sweep's first chunk may be short: do not count on it
    const float wanted = decay < 0.f ? ceilf(kForgotten / (decay * kChunk)) : 1e9f;
    return wanted <= static_cast<float>(min(p.max_warm, before - (Reverse ? 1 : 0)))
               ? static_cast<int>(wanted)
               : -1;
  }
  const int lane = static_cast<int>(threadIdx.x % 32);
  const float* totals =
      p.cumulative + static_cast<int64_t>(batch_head) * p.chunks * kChunk + kChunk - 1;
  float sum = 0.f;
  for (int first = 0; first < min(p.max_warm, before); first += 32) {
    const int back = first + lane;
    const int u = before - 1 - back;
    float total = 0.f;
    if (u >= 0)
      total = __ldg(totals + static_cast<int64_t>(Reverse ? p.chunks - 1 - u : u) * kChunk);
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

template <int D, int Branches, int Stages, bool StateOnly>
struct SweepLayout {
  static constexpr int kTile = kChunk * D * 2;
  static constexpr int kTiles = StateOnly ? 2 : Branches + 2;
  static constexpr int kStage = kTiles * kTile;
  static constexpr int kPairs = StateOnly ? 0 : kChunk * kChunk * 2;
  static constexpr int kTurn =
      StateOnly ? 0 : 4 * 16 * D / 4 * 2;  // to turn the rows of four warps
  static constexpr int kGates = 2 * kChunk * 4;
  // stages, pairs of the branches, rows to turn, gates of the stages: what has a swizzle comes
  // first
  static constexpr int kPairsAt = Stages * kStage, kTurnAt = kPairsAt + Branches * kPairs;
  static constexpr int kGatesAt = kTurnAt + Branches * kTurn;
  static constexpr int kBytes = kGatesAt + Stages * kGates;
};

// Order of heads: heavy ones (Lightning's last) first, each with a light one in the second half of
// the grid, so that two blocks sharing a multiprocessor carry about the same work.
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
  unsigned char* pairs = memory + Layout::kPairsAt + branch * Layout::kPairs;

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
      from =
          p.slots +
          (static_cast<int64_t>(batch_head) * p.pieces + main_begin / p.piece_chunks - 1) * D * D;
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
        load_tile<D, kThreads>(
            stage + (t - kFirstTile) * Layout::kTile,
            static_cast<const uint16_t*>(p.tile[t].data) + tile_start(p.tile[t], token),
            p.tile[t].token, valid, thread);
    }
    const uint32_t b_offset = Layout::kGatesAt + slot * Layout::kGates;
    if (p.cumulative) {
      if (thread < 16)
        copy_async(base + b_offset + thread * 16, p.cumulative + gates + token + thread * 4);
    } else if (thread < kChunk) {
      reinterpret_cast<float*>(memory + b_offset)[thread] =
          decay * static_cast<float>(min(thread + 1, valid));
    }
    if (p.beta) {
      if (thread < 16)
        copy_async(base + b_offset + kChunk * 4 + thread * 16, p.beta + gates + token + thread * 4);
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
      // all but the last Stages - 2 groups have landed for all threads, and the slot read before is
      // free
      copy_wait<Stages - 2>();
      __syncthreads();
      if (u + Stages - 1 < end) issue(u + Stages - 1, free_slot);
      copy_commit();
      free_slot = free_slot + 1 == Stages ? 0 : free_slot + 1;
      if (u < begin) continue;
    }
    const uint32_t offset = slot * Layout::kStage;
    const auto* b =
        reinterpret_cast<const float*>(memory + Layout::kGatesAt + slot * Layout::kGates);
    const ChunkGates chunk_gates{b, b + kChunk, p.beta != nullptr, p.log2_scale};
    const int key_tile = (branch ? 2 : 1) - kFirstTile, value_tile = (branch ? 1 : 2) - kFirstTile;
    const uint32_t key = base + offset + key_tile * Layout::kTile,
                   value = base + offset + value_tile * Layout::kTile;
    if (StateOnly || u < main_begin) {
      slice.advance(key, value, chunk_gates);
    } else {
      const int chunk = Reverse ? p.chunks - 1 - u : u;
      const int query_tile = branch ? 3 : 0;
      if (Branches == 2 && branch == 1 && p.dump) {
        const int64_t at = static_cast<int64_t>(batch_head) * p.chunks + chunk;
        const float dot = slice.dot_dump(p.dump + (at * 4 + slice.slice) * (D * D / 4 / 8));
        if (slice.lane == 0) p.crossing[at * 4 + slice.slice] = dot;
      }
      const int64_t token = static_cast<int64_t>(chunk) * kChunk;
      const View& view = p.out[branch];
      const View& with = p.dot_with[branch];
      const ChunkOutput output{
          static_cast<uint16_t*>(view.data) + tile_start(view, token),
          view.token,
          min(kChunk, p.tokens - chunk * kChunk),
          with.data ? static_cast<const uint16_t*>(with.data) + tile_start(with, token) : nullptr,
          with.token,
          p.dots[branch] +
              (gates * 4 + static_cast<int64_t>(slice.slice) * p.chunks * kChunk + token)};
      slice.chunk(base + offset + query_tile * Layout::kTile, key, value, pairs, chunk_gates,
                  output, memory + Layout::kTurnAt + branch * Layout::kTurn, 1 + branch);
    }
    if (StateOnly && u >= main_begin) passed += b[kChunk - 1];
    if (!StateOnly && Branches == 1 && p.dump && u >= main_begin) {
      const int64_t at =
          static_cast<int64_t>(batch_head) * p.chunks + (Reverse ? p.chunks - 1 - u : u);
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
