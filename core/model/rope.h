// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding, every scaling the loader accepts, as transformers computes it.
#pragma once

#include <ATen/ATen.h>

#include "core/load/model_config.h"

namespace flashmorph {

/// cos and sin of positions first..first+T-1, ready to be multiplied: [T, head_dim] in the compute dtype.
struct RopeTable {
  at::Tensor cos, sin;
};

class Rope {
 public:
  explicit Rope(const ModelConfig& config, at::Device device);

  /// Table of T consecutive positions from `first` on; total: length of the whole sequence so far (only the `dynamic`
  /// scaling reads it). Angles and their cosines are float32; the result has `dtype`.
  RopeTable table(int64_t first, int64_t T, int64_t total, at::ScalarType dtype) const;

  /// x cos + rotate_half(x) sin on the last dimension. x: [B, T, H, head_dim]; returns the same shape and dtype.
  static at::Tensor apply(const at::Tensor& x, const RopeTable& table);

 private:
  at::Tensor inverse_frequencies(int64_t total) const;
  RopeConfig config_;
  int64_t head_dim_;
  int64_t max_position_;
  at::Device device_;
  double attention_scaling_ = 1.0;
  at::Tensor fixed_;  // [head_dim / 2] float32, all types but dynamic
};

}  // namespace flashmorph
