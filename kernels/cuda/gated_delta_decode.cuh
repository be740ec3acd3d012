// SPDX-License-Identifier: Apache-2.0
// One token of the gated delta rule: both reads of the state in one pass over it, then the write.
#pragma once

#include "kernels/cuda/gated_delta_args.h"
#include "kernels/cuda/ptx.cuh"

namespace flashmorph::kernels::cuda {

constexpr int kDeltaDecodeThreads = 256;

// grid B H (D / Columns): Columns / 4 threads share a row, each with four columns
template <int D, int Columns>
__global__ void __launch_bounds__(kDeltaDecodeThreads)
    delta_decode_kernel(const __grid_constant__ GatedDeltaForward p) {
  constexpr int kAcross = Columns / 4, kRows = kDeltaDecodeThreads / kAcross;
  constexpr int kCount = D / kRows, kWarps = kDeltaDecodeThreads / 32;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int batch_head = static_cast<int>(blockIdx.x) / (D / Columns),
            batch = batch_head / p.shape.heads;
  const int head = batch_head % p.shape.heads;
  const int across = thread % kAcross, row0 = thread / kAcross;
  const int column = static_cast<int>(blockIdx.x) % (D / Columns) * Columns + across * 4;
  auto row_of = [&](const View& view) {
    return static_cast<const uint16_t*>(view.data) + batch * view.batch + head * view.head;
  };
  auto gate = [&](const View& view) {
    return static_cast<const float*>(view.data)[batch * view.batch + head * view.head];
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
  const float decay = exp2_fast(gate(p.shape.log_decay) * 1.4426950408889634f);
  const float beta = gate(p.shape.beta);
  float sum[12] = {};  // k S, q S of the four columns, and <q, k>
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float s[4] = {state[i].x, state[i].y, state[i].z, state[i].w};
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      sum[e] += k[i] * s[e];
      sum[4 + e] += q[i] * s[e];
    }
    sum[8] += q[i] * k[i];
  }
  auto* shared = reinterpret_cast<float4*>(shared_memory());  // [warp][across][3]
#pragma unroll
  for (int distance = kAcross; distance < 32; distance *= 2)
    sum[8] += __shfl_xor_sync(0xffffffffu, sum[8], distance);
  if constexpr (kAcross == 4) {
    // eight lanes share eight sums: each step sends away half of what it holds
    const int group = lane / 4;
#pragma unroll
    for (int count = 4; count > 0; count /= 2) {
      const bool high = group & count;
#pragma unroll
      for (int e = 0; e < count; ++e) {
        const float other = __shfl_xor_sync(0xffffffffu, high ? sum[e] : sum[e + count], 4 * count);
        sum[e] = (high ? sum[e + count] : sum[e]) + other;
      }
    }
    auto* to = reinterpret_cast<float*>(shared + (warp * kAcross + across) * 3);
    to[group] = sum[0];
    if (group == 0) to[8] = sum[8];
  } else {
#pragma unroll
    for (int e = 0; e < 8; ++e)
#pragma unroll
      for (int distance = kAcross; distance < 32; distance *= 2)
        sum[e] += __shfl_xor_sync(0xffffffffu, sum[e], distance);
    if (lane < kAcross) {
#pragma unroll
      for (int e = 0; e < 3; ++e)
        shared[(warp * kAcross + lane) * 3 + e] =
            make_float4(sum[4 * e], sum[4 * e + 1], sum[4 * e + 2], sum[4 * e + 3]);
    }
  }
  __syncthreads();
#pragma unroll
  for (int e = 0; e < 12; ++e) sum[e] = 0.f;
#pragma unroll
  for (int w = 0; w < kWarps; ++w)
#pragma unroll
    for (int e = 0; e < 3; ++e) {
      const float4 part = shared[(w * kAcross + across) * 3 + e];
      sum[4 * e] += part.x;
      sum[4 * e + 1] += part.y;
      sum[4 * e + 2] += part.z;
      sum[4 * e + 3] += part.w;
    }
  const float values[4] = {bf16_low(v.x), bf16_high(v.x), bf16_low(v.y), bf16_high(v.y)};
  float write[4], out[4];
#pragma unroll
  for (int e = 0; e < 4; ++e) {
    write[e] = beta * (values[e] - decay * sum[e]);
    out[e] = p.shape.scale * (decay * sum[4 + e] + sum[8] * write[e]);
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const float4 s = state[i];
    *reinterpret_cast<float4*>(p.final_state + at + (row0 + kRows * i) * D) =
        make_float4(decay * s.x + k[i] * write[0], decay * s.y + k[i] * write[1],
                    decay * s.z + k[i] * write[2], decay * s.w + k[i] * write[3]);
  }
  if (row0 == 0) {
    uint16_t* to = static_cast<uint16_t*>(p.output.data) + batch * p.output.batch +
                   head * p.output.head + column;
    *reinterpret_cast<uint32_t*>(to) = pack_bf16(out[0], out[1]);
    *reinterpret_cast<uint32_t*>(to + 2) = pack_bf16(out[2], out[3]);
  }
}

}  // namespace flashmorph::kernels::cuda
