// SPDX-License-Identifier: Apache-2.0
// Runs a CUDA kernel on the CPU: every thread is a fiber, warps meet at matrix instructions,
// asynchronous copies land as late as the waits allow and warps run in random order, so that a
// missing barrier shows as a wrong number.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3() = default;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
using cudaStream_t = void*;
using cudaError_t = int;
constexpr int cudaSuccess = 0;

namespace emulator {

struct Warp {
  int arrived = 0;
  uint64_t generation = 0;
  uint32_t in[32][12];
  uint32_t out[32][4];
};

struct Copy {
  unsigned char* to;
  const void* from;
  bool valid;
};

struct Barrier {
  int arrived = 0;
  uint64_t generation = 0;
};

struct Fiber {
  ucontext_t context;
  std::unique_ptr<unsigned char[]> stack;
  dim3 thread;
  int linear = 0;
  bool done = false;
  std::vector<std::vector<Copy>> groups{{}};
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::map<int, Barrier> barriers;
  std::vector<unsigned char> shared;
  ucontext_t scheduler;
};

inline Block* block = nullptr;
inline Fiber* current = nullptr;
inline dim3 block_index, block_size, grid_size;
inline std::function<void()> body;
inline std::mt19937 random{7};

inline void yield() { swapcontext(&current->context, &block->scheduler); }

inline void wait(Barrier& barrier, int threads) {
  const uint64_t generation = barrier.generation;
  if (++barrier.arrived == threads) {
    barrier.arrived = 0;
    ++barrier.generation;
    return;
  }
  while (barrier.generation == generation) yield();
}

// all 32 lanes put their words in, the last one computes for the warp
template <class Compute>
void meet(const uint32_t* words, int count, uint32_t* result, int results, Compute compute) {
  Warp& warp = block->warps[current->linear / 32];
  const int lane = current->linear % 32;
  if (count) std::memcpy(warp.in[lane], words, sizeof(uint32_t) * count);
  const uint64_t generation = warp.generation;
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    compute(warp);
    ++warp.generation;
  }
  while (warp.generation == generation) yield();
  if (results) std::memcpy(result, warp.out[lane], sizeof(uint32_t) * results);
  // nobody may start the next meeting before everybody has read
  const uint64_t read = warp.generation;
  if (++warp.arrived == 32) {
    warp.arrived = 0;
    ++warp.generation;
  }
  while (warp.generation == read) yield();
}

inline void entry() {
  body();
  current->done = true;
  swapcontext(&current->context, &block->scheduler);
}

inline void run_block(int threads, int shared_bytes) {
  Block now;
  now.fibers.resize(threads);
  now.warps.resize((threads + 31) / 32);
  now.shared.assign(shared_bytes + 1024, 0xff);  // NaN in every format
  block = &now;
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = now.fibers[i];
    fiber.linear = i;
    fiber.thread = dim3(i);
    fiber.stack.reset(new unsigned char[128 * 1024]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = 128 * 1024;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, entry, 0);
  }
  const int warps = static_cast<int>(now.warps.size());
  for (int left = 1; left;) {
    left = 0;
    const int first = static_cast<int>(random() % warps);
    const int bursts = 1 + static_cast<int>(random() % 4);
    for (int w = 0; w < warps; ++w) {
      for (int burst = 0; burst < bursts; ++burst) {
        for (int lane = 0; lane < 32; ++lane) {
          const int i = (first + w) % warps * 32 + lane;
          if (i >= threads || now.fibers[i].done) continue;
          current = &now.fibers[i];
          swapcontext(&now.scheduler, &current->context);
          left += !now.fibers[i].done;
        }
      }
    }
  }
  block = nullptr;
}

inline float as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline uint32_t as_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}
inline uint32_t round_bf16(float value) {
  if (std::isnan(value)) return 0x7fff;
  const uint32_t bits = as_bits(value);
  return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
inline float half(const uint32_t word, int high) {
  return as_float(high ? word & 0xffff0000u : word << 16);
}

}  // namespace emulator

#define threadIdx (emulator::current->thread)
#define blockIdx emulator::block_index
#define blockDim emulator::block_size
#define gridDim emulator::grid_size

inline void __syncthreads() {
  emulator::wait(emulator::block->barriers[0], static_cast<int>(emulator::block->fibers.size()));
}
inline void __syncwarp() {
  emulator::meet(nullptr, 0, nullptr, 0, [](emulator::Warp&) {});
}
inline float __shfl_xor_sync(unsigned, float value, int mask) {
  uint32_t in = emulator::as_bits(value), out;
  emulator::meet(&in, 1, &out, 1, [mask](emulator::Warp& warp) {
    for (int lane = 0; lane < 32; ++lane) warp.out[lane][0] = warp.in[lane ^ mask][0];
  });
  return emulator::as_float(out);
}
inline float __shfl_sync(unsigned, float value, int source) {
  uint32_t in[2] = {emulator::as_bits(value), static_cast<uint32_t>(source)}, out;
  emulator::meet(in, 2, &out, 1, [](emulator::Warp& warp) {
    for (int lane = 0; lane < 32; ++lane) warp.out[lane][0] = warp.in[warp.in[lane][1] % 32][0];
  });
  return emulator::as_float(out);
}
inline float __shfl_up_sync(unsigned, float value, int distance) {
  uint32_t in = emulator::as_bits(value), out;
  emulator::meet(&in, 1, &out, 1, [distance](emulator::Warp& warp) {
    for (int lane = 0; lane < 32; ++lane)
      warp.out[lane][0] = warp.in[lane < distance ? lane : lane - distance][0];
  });
  return emulator::as_float(out);
}
inline float __shfl_down_sync(unsigned, float value, int distance) {
  uint32_t in = emulator::as_bits(value), out;
  emulator::meet(&in, 1, &out, 1, [distance](emulator::Warp& warp) {
    for (int lane = 0; lane < 32; ++lane)
      warp.out[lane][0] = warp.in[lane + distance > 31 ? lane : lane + distance][0];
  });
  return emulator::as_float(out);
}
inline unsigned __ballot_sync(unsigned, bool vote) {
  uint32_t in = vote, out;
  emulator::meet(&in, 1, &out, 1, [](emulator::Warp& warp) {
    uint32_t bits = 0;
    for (int lane = 0; lane < 32; ++lane) bits |= (warp.in[lane][0] ? 1u : 0u) << lane;
    for (int lane = 0; lane < 32; ++lane) warp.out[lane][0] = bits;
  });
  return out;
}
inline int __ffs(unsigned bits) { return __builtin_ffs(static_cast<int>(bits)); }
template <class T>
T __ldg(const T* pointer) {
  return *pointer;
}
inline float __uint_as_float(uint32_t bits) { return emulator::as_float(bits); }
inline uint32_t __float_as_uint(float value) { return emulator::as_bits(value); }
template <class T>
T min(T a, T b) {
  return a < b ? a : b;
}
template <class T>
T max(T a, T b) {
  return a > b ? a : b;
}

namespace flashmorph::kernels::cuda {

inline unsigned char* shared_memory() {
  auto address = reinterpret_cast<uintptr_t>(emulator::block->shared.data());
  return reinterpret_cast<unsigned char*>((address + 1023) & ~uintptr_t{1023});
}
inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(static_cast<const unsigned char*>(pointer) - shared_memory());
}
inline float exp2_fast(float x) { return std::exp2(x); }
inline uint32_t pack_bf16(float low, float high) {
  return emulator::round_bf16(low) | emulator::round_bf16(high) << 16;
}
inline float bf16_low(uint32_t packed) { return emulator::half(packed, 0); }
inline float bf16_high(uint32_t packed) { return emulator::half(packed, 1); }

inline void load_matrices(uint32_t (&r)[4], uint32_t address, bool transposed) {
  emulator::meet(&address, 1, r, 4, [transposed](emulator::Warp& warp) {
    for (int m = 0; m < 4; ++m) {
      uint16_t value[8][8];
      for (int row = 0; row < 8; ++row)
        std::memcpy(value[row], shared_memory() + warp.in[8 * m + row][0], 16);
      for (int lane = 0; lane < 32; ++lane) {
        const int i = lane / 4, j = 2 * (lane % 4);
        warp.out[lane][m] = transposed ? value[j][i] | static_cast<uint32_t>(value[j + 1][i]) << 16
                                       : value[i][j] | static_cast<uint32_t>(value[i][j + 1]) << 16;
      }
    }
  });
}
inline void load_matrix(uint32_t (&r)[4], uint32_t address) { load_matrices(r, address, false); }
inline void load_matrix_transposed(uint32_t (&r)[4], uint32_t address) {
  load_matrices(r, address, true);
}

inline void store_matrices(uint32_t address, const uint32_t (&r)[4], bool transposed) {
  uint32_t words[5] = {address, r[0], r[1], r[2], r[3]};
  emulator::meet(words, 5, nullptr, 0, [transposed](emulator::Warp& warp) {
    for (int lane = 0; lane < 32; ++lane)
      for (int m = 0; m < 4; ++m)
        for (int high = 0; high < 2; ++high) {
          int row = lane / 4, column = lane % 4 * 2 + high;
          const auto half = static_cast<uint16_t>(warp.in[lane][1 + m] >> (16 * high));
          if (transposed) std::swap(row, column);
          std::memcpy(shared_memory() + warp.in[8 * m + row][0] + column * 2, &half, 2);
        }
  });
}
inline void store_matrix(uint32_t address, const uint32_t (&r)[4]) {
  store_matrices(address, r, false);
}
inline void store_matrix_transposed(uint32_t address, const uint32_t (&r)[4]) {
  store_matrices(address, r, true);
}

inline void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  uint32_t words[10] = {a[0], a[1], a[2], a[3], b0, b1};
  std::memcpy(words + 6, c, 16);
  emulator::meet(words, 10, reinterpret_cast<uint32_t*>(c), 4, [](emulator::Warp& warp) {
    float a_[16][16], b_[16][8];
    for (int lane = 0; lane < 32; ++lane) {
      const int i = lane / 4, j = 2 * (lane % 4);
      for (int h = 0; h < 2; ++h) {
        a_[i][j + h] = emulator::half(warp.in[lane][0], h);
        a_[i + 8][j + h] = emulator::half(warp.in[lane][1], h);
        a_[i][j + 8 + h] = emulator::half(warp.in[lane][2], h);
        a_[i + 8][j + 8 + h] = emulator::half(warp.in[lane][3], h);
        b_[j + h][i] = emulator::half(warp.in[lane][4], h);
        b_[j + 8 + h][i] = emulator::half(warp.in[lane][5], h);
      }
    }
    for (int lane = 0; lane < 32; ++lane) {
      for (int e = 0; e < 4; ++e) {
        const int row = lane / 4 + 8 * (e / 2), column = 2 * (lane % 4) + e % 2;
        float sum = emulator::as_float(warp.in[lane][6 + e]);
        for (int k = 0; k < 16; ++k) sum += a_[row][k] * b_[k][column];
        warp.out[lane][e] = emulator::as_bits(sum);
      }
    }
  });
}

inline void copy_async_or_zero(uint32_t shared, const void* source, bool valid) {
  emulator::current->groups.back().push_back({shared_memory() + shared, source, valid});
}
inline void copy_async(uint32_t shared, const void* source) {
  copy_async_or_zero(shared, source, true);
}
inline void copy_commit() { emulator::current->groups.emplace_back(); }
template <int Pending>
void copy_wait() {
  auto& groups = emulator::current->groups;  // the last one is still open
  while (groups.size() > Pending + 1u) {
    for (const auto& copy : groups.front()) {
      if (copy.valid)
        std::memcpy(copy.to, copy.from, 16);
      else
        std::memset(copy.to, 0, 16);
    }
    groups.erase(groups.begin());
  }
}
inline void named_barrier(int id, int threads) {
  emulator::wait(emulator::block->barriers[id], threads);
}

template <class... Params, class... Args>
cudaError_t launch(void (*kernel)(Params...), dim3 grid, int threads, int shared_bytes,
                   cudaStream_t, Args... args) {
  emulator::grid_size = grid;
  emulator::block_size = dim3(threads);
  emulator::body = [=] { kernel(static_cast<Params>(args)...); };
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        emulator::block_index = dim3(x, y, z);
        emulator::run_block(threads, shared_bytes);
      }
  return cudaSuccess;
}

}  // namespace flashmorph::kernels::cuda
