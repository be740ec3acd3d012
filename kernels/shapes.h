// SPDX-License-Identifier: Apache-2.0
// The shape legend of every kernel, and the two types all of them share.
#pragma once

#include <ATen/ATen.h>

namespace flashmorph::kernels {

// Letters, the same in every header of this folder:
//   B  sequences in the batch         T  tokens of a sequence         H  (query) heads
//   G  key/value heads, G divides H   K  key channels of a head       V  value channels of a head
//   D  channels of a row              S  tokens of a key/value cache  W  taps of a convolution
//   C  tokens of a chunk              N  chunks of a sequence
// Spaces: `log_decay` is always the natural logarithm of the factor in (0, 1] (so it is <= 0);
// `beta` and `alpha` are the weights themselves, after their sigmoid. Tensors are row-major, token
// before head: [B, T, H, K]. Precision: inputs may be bfloat16, float16, float32 or float64.
// States, decays, their gradients and all sums are float32, or float64 when the inputs are float64.

/// Output of a recurrence and its last state.
struct Recurrence {
  at::Tensor output;  ///< o: [B, T, H, V], dtype of v
  at::Tensor state;   ///< S_T: [B, H, K, V], float32 (float64 for float64 inputs)
};

/// Which of the equal forms runs. `automatic`: the CUDA kernel where one is registered and fits,
/// else the fast CPU or the chunk form; a single token takes one step. `naive` is the token loop,
/// the truth of the tests.
enum class Form { automatic, naive, chunk };

}  // namespace flashmorph::kernels
