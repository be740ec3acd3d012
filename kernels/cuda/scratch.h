// SPDX-License-Identifier: Apache-2.0
// Hands out parts of one scratch allocation.
#pragma once

#include <cstddef>
#include <cstdint>

namespace flashmorph::kernels::cuda {

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// With a null base it only counts.
struct Scratch {
  char* base = nullptr;
  size_t used = 0;
  template <class T>
  T* take(int64_t count) {
    T* part = base ? reinterpret_cast<T*>(base + used) : nullptr;
    used += (static_cast<size_t>(count) * sizeof(T) + 255) / 256 * 256;
    return part;
  }
};

}  // namespace flashmorph::kernels::cuda
