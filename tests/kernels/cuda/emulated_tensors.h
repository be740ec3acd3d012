// SPDX-License-Identifier: Apache-2.0
// What the emulated tests share: bf16 tensors on plain arrays and how far two arrays are apart.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cuda/ptx.cuh"
#include "kernels/cuda/scalar_decay_args.h"

namespace emulated {

using Array = std::vector<double>;
using flashmorph::kernels::cuda::View;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// bf16 words with the head's columns beside each other, as a [B, T, H, D] tensor
struct Half {
  std::vector<uint16_t> words;
  View view(int64_t tokens, int64_t heads, int64_t dim) {
    return {words.data(), tokens * heads * dim, heads * dim, dim};
  }
};

inline Half half(const Array& from) {
  Half to;
  for (double x : from)
    to.words.push_back(static_cast<uint16_t>(emulator::round_bf16(static_cast<float>(x))));
  return to;
}
inline Half poisoned(size_t size) { return {std::vector<uint16_t>(size, 0x7fc0)}; }
inline Array widen(const Half& from) {
  Array to;
  for (uint16_t w : from.words) to.push_back(emulator::as_float(static_cast<uint32_t>(w) << 16));
  return to;
}
inline Array widen(const std::vector<float>& from) { return {from.begin(), from.end()}; }
inline std::vector<float> narrow(const Array& from) { return {from.begin(), from.end()}; }

inline double relative_error(const Array& got, const Array& expected) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    difference += (got[i] - expected[i]) * (got[i] - expected[i]);
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference / (norm + 1e-30));
}

}  // namespace emulated
