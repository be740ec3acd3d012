// SPDX-License-Identifier: Apache-2.0
// The small kernels around the sweeps: gates laid out per head, states of pieces joined, gradients
// of the gates.
#pragma once

#include "kernels/cuda/scalar_decay_sweep.cuh"

namespace flashmorph::kernels::cuda {

struct PrepareGates {
  View per_token, beta;  // [B, T, H] fp32, either may be absent
  float* cumulative;     // [B H][chunks 64] log2
  float* beta_by_head;   // [B H][chunks 64]
  int tokens, heads, chunks;
};

// grid (chunks, batch), 256 threads: a warp takes a head, a lane two tokens
__global__ void __launch_bounds__(256)
    prepare_gates_kernel(const __grid_constant__ PrepareGates p) {
  const int lane = static_cast<int>(threadIdx.x % 32), chunk = static_cast<int>(blockIdx.x);
  const int batch = static_cast<int>(blockIdx.y);
  for (int head = static_cast<int>(threadIdx.x / 32); head < p.heads; head += 8) {
    const int64_t to =
        (static_cast<int64_t>(batch * p.heads + head) * p.chunks + chunk) * kChunk + 2 * lane;
    float g[2] = {0.f, 0.f}, beta[2] = {0.f, 0.f};
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t token = static_cast<int64_t>(chunk) * kChunk + 2 * lane + i;
      if (token >= p.tokens) continue;
      if (p.cumulative)
        g[i] = kLog2e * static_cast<const float*>(
                            p.per_token.data)[batch * p.per_token.batch + head * p.per_token.head +
                                              token * p.per_token.token];
      if (p.beta_by_head)
        beta[i] = static_cast<const float*>(
            p.beta.data)[batch * p.beta.batch + head * p.beta.head + token * p.beta.token];
    }
    if (p.cumulative) {
      float sum = g[0] + g[1];
#pragma unroll
      for (int distance = 1; distance < 32; distance *= 2) {
        const float other = __shfl_up_sync(0xffffffffu, sum, distance);
        if (lane >= distance) sum += other;
      }
      p.cumulative[to] = sum - g[1];
      p.cumulative[to + 1] = sum;
    }
    if (p.beta_by_head) {
      p.beta_by_head[to] = beta[0];
      p.beta_by_head[to + 1] = beta[1];
    }
  }
}

struct JoinPieces {
  float* slots;
  const float* piece_decay;
  int pieces, joined, per_segment,
      size;  // joined: how many pieces there are before the last segment
};

// grid (size / 1024, B H), 256 threads of four elements: slot <- slot + decay * slot before, along
// the pieces
__global__ void __launch_bounds__(256) join_pieces_kernel(const __grid_constant__ JoinPieces p) {
  const int64_t batch_head = blockIdx.y;
  const float* decay = p.piece_decay + batch_head * p.pieces;
  float* slots = p.slots + batch_head * p.pieces * p.size + (blockIdx.x * 256 + threadIdx.x) * 4;
  float4 running = make_float4(0.f, 0.f, 0.f, 0.f);
  constexpr int kAhead = 8;
  for (int first = 0; first < p.joined; first += kAhead) {
    float4 own[kAhead];
    float d[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      d[i] = first + i < p.joined ? decay[first + i] : -1.f;
      own[i] =
          d[i] >= 0.f
              ? *reinterpret_cast<const float4*>(slots + static_cast<int64_t>(first + i) * p.size)
              : make_float4(0.f, 0.f, 0.f, 0.f);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const float f = max(d[i], 0.f);
      running = make_float4(own[i].x + f * running.x, own[i].y + f * running.y,
                            own[i].z + f * running.z, own[i].w + f * running.w);
      if (d[i] > 0.f && (first + i + 1) % p.per_segment == 0)
        *reinterpret_cast<float4*>(slots + static_cast<int64_t>(first + i) * p.size) = running;
    }
  }
}

struct GateGradients {
  const float* query_dots;  // [B H][4][chunks 64] <q, dq>; null without a per-token decay
  const float* key_dots;    // [B H][4][chunks 64] <k, dk / beta>
  const float* crossing;    // [B H][chunks][4] <dS, S> at chunk ends
  const float* beta;        // [B H][chunks 64] or null
  View d_log_decay, d_beta;
  int tokens, heads, chunks;
};

// grid (chunks, B), 256 threads: d log decay = reverse sum of <q,dq> - <k,dk> inside the chunk +
// <dS,S> at its end
__global__ void __launch_bounds__(256)
    gate_gradients_kernel(const __grid_constant__ GateGradients p) {
  const int lane = static_cast<int>(threadIdx.x % 32), chunk = static_cast<int>(blockIdx.x);
  const int batch = static_cast<int>(blockIdx.y);
  for (int head = static_cast<int>(threadIdx.x / 32); head < p.heads; head += 8) {
    const int64_t batch_head = batch * p.heads + head;
    const int64_t padded = static_cast<int64_t>(p.chunks) * kChunk;
    float db[2], key[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int64_t token = static_cast<int64_t>(chunk) * kChunk + 2 * lane + i;
      key[i] = db[i] = 0.f;
      if (token >= p.tokens) continue;
#pragma unroll
      for (int part = 0; part < 4; ++part) {
        key[i] += p.key_dots[(batch_head * 4 + part) * padded + token];
        if (p.query_dots) db[i] += p.query_dots[(batch_head * 4 + part) * padded + token];
      }
      db[i] -= p.beta ? key[i] * p.beta[batch_head * padded + token] : key[i];
      if (p.d_beta.data)
        static_cast<float*>(
            p.d_beta.data)[batch * p.d_beta.batch + head * p.d_beta.head + token * p.d_beta.token] =
            key[i];
    }
    if (!p.d_log_decay.data) continue;
    float sum = db[0] + db[1];
#pragma unroll
    for (int distance = 1; distance < 32; distance *= 2) {
      const float other = __shfl_down_sync(0xffffffffu, sum, distance);
      if (lane + distance < 32) sum += other;
    }
    const float* e = p.crossing + (batch_head * p.chunks + chunk) * 4;
    sum += e[0] + e[1] + e[2] + e[3];
    float* to = static_cast<float*>(p.d_log_decay.data) + batch * p.d_log_decay.batch +
                head * p.d_log_decay.head;
    const int64_t token = static_cast<int64_t>(chunk) * kChunk + 2 * lane;
    if (token < p.tokens) to[token * p.d_log_decay.token] = sum;
    if (token + 1 < p.tokens) to[(token + 1) * p.d_log_decay.token] = sum - db[0];
  }
}

}  // namespace flashmorph::kernels::cuda
