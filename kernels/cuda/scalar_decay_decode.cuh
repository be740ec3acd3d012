// SPDX-License-Identifier: Apache-2.0
// One token of scalar decay: the state is read once and written once, everything else rides along.
#pragma once

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/scalar_decay_args.h"

namespace flashmorph::kernels::cuda {

// grid B H (D / Columns): Columns / 4 threads share a row, each with four columns
template <int D, int Columns, int Threads>
__global__ void __launch_bounds__(Threads)
    decode_kernel(const __grid_constant__ ScalarDecayForward p) {
  constexpr int kAcross = Columns / 4, kRows = Threads / kAcross, kCount = D / kRows;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int batch_head = static_cast<int>(blockIdx.x) / (D / Columns),
            batch = batch_head / p.shape.heads;
  const int head = batch_head % p.shape.heads;
  const int column0 = static_cast<int>(blockIdx.x) % (D / Columns) * Columns;
  const int column = column0 + thread % kAcross * 4, row0 = thread / kAcross;
  auto row_of = [&](const View& view) {
    return static_cast<const uint16_t*>(view.data) + batch * view.batch + head * view.head;
  };
  const int64_t at = static_cast<int64_t>(batch_head) * D * D + column;
  float4 state[kCount];
  float q[kCount], k[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const int row = row0 + kRows * i;
    state[i] = *reinterpret_cast<const float4*>(p.state + at + row * D);
    q[i] = bf16_low(row_of(p.q)[row]);
    k[i] = bf16_low(row_of(p.k)[row]);
  }
  const uint2 v = *reinterpret_cast<const uint2*>(row_of(p.v) + column);
  float log_decay = 0.f, beta = 1.f;
  if (p.gates.fixed) log_decay = p.gates.fixed[head];
  if (p.gates.per_token.data)
    log_decay = static_cast<const float*>(
        p.gates.per_token.data)[batch * p.gates.per_token.batch + head * p.gates.per_token.head];
  if (p.gates.beta.data)
    beta = static_cast<const float*>(
        p.gates.beta.data)[batch * p.gates.beta.batch + head * p.gates.beta.head];
  const float decay = exp2_fast(log_decay * 1.4426950408889634f);
  const float v0 = bf16_low(v.x), v1 = bf16_high(v.x), v2 = bf16_low(v.y), v3 = bf16_high(v.y);
  float sum[4] = {};
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float write = beta * k[i];
    float4& s = state[i];
    s = make_float4(decay * s.x + write * v0, decay * s.y + write * v1, decay * s.z + write * v2,
                    decay * s.w + write * v3);
    *reinterpret_cast<float4*>(p.final_state + at + (row0 + kRows * i) * D) = s;
    sum[0] += q[i] * s.x;
    sum[1] += q[i] * s.y;
    sum[2] += q[i] * s.z;
    sum[3] += q[i] * s.w;
  }
  auto* shared = reinterpret_cast<float*>(shared_memory());
#pragma unroll
  for (int e = 0; e < 4; ++e) {
#pragma unroll
    for (int distance = kAcross; distance < 32; distance *= 2)
      sum[e] += __shfl_xor_sync(0xffffffffu, sum[e], distance);
    if (lane < kAcross) shared[warp * Columns + lane * 4 + e] = sum[e];
  }
  __syncthreads();
  if (thread < Columns / 2) {
    float o[2] = {};
#pragma unroll
    for (int w = 0; w < Threads / 32; ++w)
#pragma unroll
      for (int e = 0; e < 2; ++e) o[e] += shared[w * Columns + 2 * thread + e];
    auto* to = static_cast<uint16_t*>(p.output.data) + batch * p.output.batch +
               head * p.output.head + column0 + 2 * thread;
    *reinterpret_cast<uint32_t*>(to) = pack_bf16(p.shape.scale * o[0], p.shape.scale * o[1]);
  }
}

}  // namespace flashmorph::kernels::cuda
