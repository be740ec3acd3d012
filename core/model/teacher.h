// SPDX-License-Identifier: Apache-2.0
// The teacher: a pre-norm decoder (Llama, Qwen2, Qwen3 families) in pieces, so that morphing can mix between them.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/load/checkpoint.h"
#include "core/model/cache.h"
#include "core/model/rope.h"

namespace flashmorph {

/// Weights of one layer, [out, in] as stored; undefined tensors are absent (biases, q/k norms).
struct LayerWeights {
  at::Tensor input_norm, q, k, v, o, q_bias, k_bias, v_bias, o_bias, q_norm, k_norm;
  at::Tensor post_norm, gate, up, down, gate_bias, up_bias, down_bias;
};

class Teacher {
 public:
  /// Takes the tensors over; all stay frozen (no gradient).
  explicit Teacher(Checkpoint checkpoint);

  const ModelConfig& config() const { return config_; }
  int layers() const { return static_cast<int>(config_.layers); }
  at::ScalarType dtype() const { return embedding_.scalar_type(); }
  at::Device device() const { return embedding_.device(); }
  const LayerWeights& weights(int layer) const { return layers_[static_cast<size_t>(layer)]; }
  /// Every tensor under its name in tensor_table(config()), sharing memory.
  std::map<std::string, at::Tensor> tensors() const;
  /// [vocab, D]; head() is the same tensor when the config says tied.
  const at::Tensor& embedding() const { return embedding_; }
  const at::Tensor& norm() const { return norm_; }
  const at::Tensor& head() const { return head_; }
  const Rope& rope() const { return rope_; }
  /// Rope table for T tokens after `first`, in the compute dtype.
  RopeTable rope_table(int64_t first, int64_t T) const { return rope_.table(first, T, first + T, dtype()); }

  /// ids: [B, T] int64 -> [B, T, D].
  at::Tensor embed(const at::Tensor& ids) const;
  /// LN before the mixer. x: [B, T, D].
  at::Tensor input_norm(int layer, const at::Tensor& x) const;
  /// Softmax mixer after W_o. u: [B, T, D] normed input; returns [B, T, D]. With a cache the T tokens follow those in it.
  at::Tensor attention(int layer, const at::Tensor& u, const RopeTable& rope, LayerCache* cache = nullptr) const;
  /// FFN(LN(h)). h: [B, T, D] stream after the mixer.
  at::Tensor mlp(int layer, const at::Tensor& h) const;
  /// Final norm. x: [..., D].
  at::Tensor final_norm(const at::Tensor& x) const;
  /// Logits of normed states. x: [..., D] -> [..., vocab] in the compute dtype.
  at::Tensor logits(const at::Tensor& x) const;

 private:
  ModelConfig config_;
  at::Tensor embedding_, norm_, head_;
  std::vector<LayerWeights> layers_;
  Rope rope_;
};

}  // namespace flashmorph
