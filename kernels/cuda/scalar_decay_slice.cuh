// SPDX-License-Identifier: Apache-2.0
// The state and the products of one branch, by warp-wide instructions (mma.sync) that sm_80 and
// later have.
#pragma once

#include "kernels/cuda/scalar_decay_tile.cuh"

namespace flashmorph::kernels::cuda {

// The slice of one warp: D/4 value columns of the state and of the output.
template <int D, bool Reverse>
struct Slice {
  static constexpr int kWidth = D / 4, kM = kWidth / 16, kN = D / 8, kBlocks = kWidth / 8;
  float state[kM][kN][4];  // state^T: value rows, key columns, as mma accumulators
  int lane, slice;

  // sixteen of this warp's value columns
  __device__ __forceinline__ uint32_t block_offset(int m) const {
    const int column = slice * kBlocks + 2 * m;
    return (column >> 3) * kPanel + ((column & 7) << 4);
  }
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
            const float2 pair =
                *reinterpret_cast<const float2*>(at + (m * 16 + 8 * low) * D + n * 8);
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
          for (int e = 0; e < 4; ++e)
            state[m][n][e] = at[(n * 8 + (e & 1)) * D + m * 16 + 8 * (e >> 1)];
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
          for (int e = 0; e < 4; ++e)
            at[(n * 8 + (e & 1)) * D + m * 16 + 8 * (e >> 1)] = state[m][n][e];
    }
  }
  __device__ __forceinline__ uint32_t packed(int m, int n, int half) const {
    return pack_bf16(state[m][n][2 * half], state[m][n][2 * half + 1]);
  }

  // P = scale * decay * beta * <query, key> of this warp's 16 x 16 blocks, to shared memory as bf16
  __device__ __forceinline__ void pair_weights(uint32_t query, uint32_t key, unsigned char* pairs,
                                               const float* b, const float* beta, bool with_beta,
                                               float log2_scale) const {
    // The ten blocks (row, column) of the triangle: (3 0) (3 1) (3 2) | (2 0) (2 1) (2 2) | (1 0)
    // (1 1) | (0 0) (3 3). The last two warps compute one block twice, so that no branch stands
    // between the products.
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
    const uint32_t at_a = query + (row[0] * 16 + row_a) * 128,
                   at_a2 = query + (row[2] * 16 + row_a) * 128;
    uint32_t at_b[3];
#pragma unroll
    for (int t = 0; t < 3; ++t) at_b[t] = key + (column[t] * 16 + row_b) * 128;
#pragma unroll 2
    for (int k = 0; k < D / 16; ++k) {
      uint32_t a[2][4], c[3][4];
      load_matrix(a[0], at_a + (panel_offset(k) ^ swizzle_a));
      load_matrix(a[1], at_a2 + (panel_offset(k) ^ swizzle_a));
#pragma unroll
      for (int t = 0; t < 3; ++t) load_matrix(c[t], at_b[t] + (panel_offset(k) ^ swizzle_b));
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
        const int ahead =
            Reverse ? (column[t] - row[t]) * 16 + c - quad : (row[t] - column[t]) * 16 + quad - c;
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
            // how far the second token of the pair lies in the past of the first; chosen after the
            // product, so that nothing from beyond the triangle gets through
            const int past = ahead + (Reverse ? 8 * half - 8 * low : 8 * low - 8 * half);
            const float w0 = past >= 0 ? sum[t][half][2 * low] * exp2_fast(x0) : 0.f;
            const float w1 = (Reverse ? past + 1 : past - 1) >= 0
                                 ? sum[t][half][2 * low + 1] * exp2_fast(x1)
                                 : 0.f;
            *reinterpret_cast<uint32_t*>(at + low * 8 * 128) = pack_bf16(w0, w1);
          }
        }
      }
    }
  }

  // out = scale * a_i * (query . state) + P value, 32 tokens at a time, to device memory.
  // The loop over rows stays a loop: unrolled, the kernel would not fit the instruction cache.
  __device__ __forceinline__ void outputs(uint32_t query, uint32_t pairs, uint32_t value,
                                          const float* b, float log2_scale, const float* beta_rows,
                                          unsigned char* stage, const ChunkOutput& output) const {
    uint32_t packed_state[kN][kBlocks];
#pragma unroll
    for (int n = 0; n < kN; ++n)
#pragma unroll
      for (int i = 0; i < kBlocks; ++i) packed_state[n][i] = packed(i / 2, n, i & 1);
    const int row_a = lane & 15;
    const uint32_t swizzle = static_cast<uint32_t>(((lane >> 4) ^ (row_a & 7)) << 4);
    uint32_t at_value[kM];
#pragma unroll
    for (int m = 0; m < kM; ++m) at_value[m] = value + row_a * 128 + (block_offset(m) ^ swizzle);
    const float total = Reverse ? b[kChunk - 1] + log2_scale : log2_scale;
#pragma unroll 1
    for (int r = 0; r < 2; ++r) {
      float out[2][kBlocks][4] = {};
      const uint32_t at_query = query + (r * 32 + row_a) * 128;
#pragma unroll
      for (int k = 0; k < D / 16; ++k) {
        uint32_t a[2][4];
        load_matrix(a[0], at_query + (panel_offset(k) ^ swizzle));
        load_matrix(a[1], at_query + 16 * 128 + (panel_offset(k) ^ swizzle));
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
      // two columns of blocks at a time; of the blocks beyond the triangle some are met, and they
      // hold zeros
      const int first = Reverse ? 2 * r : 0, last = Reverse ? 4 : 2 * r + 2;
#pragma unroll 1
      for (int j2 = first; j2 < last; j2 += 2) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          uint32_t p[2][4], v[kM][4];
#pragma unroll
          for (int h = 0; h < 2; ++h)
            load_matrix(p[h], pairs + (r * 32 + h * 16 + row_a) * 128 +
                                  (static_cast<uint32_t>((j2 + j) * 32) ^ swizzle));
#pragma unroll
          for (int m = 0; m < kM; ++m)
            load_matrix_transposed(v[m], at_value[m] + (j2 + j) * 16 * 128);
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
      for (int h = 0; h < 2; ++h) write_rows(out[h], r * 32 + h * 16, beta_rows, stage, output);
    }
  }

  // Sixteen rows of this warp's columns, turned in a private kibibyte so that a lane stores 16
  // bytes.
  __device__ __forceinline__ void write_rows(const float (&out)[kBlocks][4], int row0,
                                             const float* beta_rows, unsigned char* stage,
                                             const ChunkOutput& output) const {
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
    constexpr int kShift =
        kBlocks == 4 ? 1 : 2;  // rows of 64 or 32 bytes: eight of them over all banks
    auto at = [&](int row, int block) {
      return static_cast<uint32_t>(row * kWidth * 2 +
                                   ((block ^ ((row >> kShift) & (kBlocks - 1))) << 4));
    };
    float beta[2] = {1.f, 1.f};
    if (Reverse) {
      beta[0] = beta_rows[row0 + lane / 4];
      beta[1] = beta_rows[row0 + lane / 4 + 8];
    }
    const uint32_t to_stage = shared_address(stage);
    const int row_of_lane = (lane & 7) + ((lane >> 3) & 1) * 8;
#pragma unroll
    for (int i = 0; i < kBlocks / 2; ++i) {
      uint32_t words[4];
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const float* from = &out[2 * i + w / 2][2 * (w & 1)];
        words[w] = Reverse ? pack_bf16(from[0] * beta[w & 1], from[1] * beta[w & 1])
                           : pack_bf16(from[0], from[1]);
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
  __device__ __forceinline__ void advance(uint32_t key, uint32_t value, const ChunkGates& gates) {
    const float* b = gates.b;
    const float* beta = gates.beta;
    const bool with_beta = gates.with_beta;
    const float log2_scale = gates.log2_scale;
    const float decay = exp2_fast(b[kChunk - 1]);
    const float total =
        Reverse ? log2_scale : b[kChunk - 1];  // only reverse sweeps scale what they add
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
      const uint32_t at = (j * 16 + row) * 128;
#pragma unroll
      for (int m = 0; m < kM; ++m)
        load_matrix_transposed(raw[m], value + at + (block_offset(m) ^ swizzle));
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
        // raw: (block, token half) = 00 01 10 11; as a transposed left operand the middle two
        // change places
        v[m][0] = pack_bf16(bf16_low(raw[m][0]) * c[0], bf16_high(raw[m][0]) * c[1]);
        v[m][1] = pack_bf16(bf16_low(raw[m][2]) * c[0], bf16_high(raw[m][2]) * c[1]);
        v[m][2] = pack_bf16(bf16_low(raw[m][1]) * c[2], bf16_high(raw[m][1]) * c[3]);
        v[m][3] = pack_bf16(bf16_low(raw[m][3]) * c[2], bf16_high(raw[m][3]) * c[3]);
      }
#pragma unroll
      for (int n = 0; n < kN / 2; ++n) {
        if (n + 1 < kN / 2)
          load_matrix_transposed(k[(n + 1) & 1], key + at + (panel_offset(n + 1) ^ swizzle));
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          multiply_add(state[m][2 * n], v[m], k[n & 1][0], k[n & 1][1]);
          multiply_add(state[m][2 * n + 1], v[m], k[n & 1][2], k[n & 1][3]);
        }
      }
    }
  }

  // outputs of the chunk to device memory, then the state after it
  __device__ __forceinline__ void chunk(uint32_t query, uint32_t key, uint32_t value,
                                        unsigned char* pairs, const ChunkGates& gates,
                                        const ChunkOutput& output, unsigned char* turn,
                                        int barrier) {
    pair_weights(query, key, pairs, gates.b, gates.beta, gates.with_beta, gates.log2_scale);
    named_barrier(barrier, 128);
    outputs(query, shared_address(pairs), value, gates.b, Reverse ? 0.f : gates.log2_scale,
            gates.beta, turn + slice * (16 * kWidth * 2), output);
    advance(key, value, gates);
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
    for (int distance = 1; distance < 32; distance *= 2)
      sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    return sum;
  }
};

}  // namespace flashmorph::kernels::cuda
