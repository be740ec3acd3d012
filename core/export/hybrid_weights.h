// SPDX-License-Identifier: Apache-2.0
// A hybrid as plain named tensors: what every export target reads, whether branches are aligned or
// the whole is distilled.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/export/lazy_tensor.h"
#include "core/model/hybrid_model.h"

namespace flashmorph {

/// Names are those of HybridTensor: the teacher's, and model.layers.N.linear_attn.NAME for the
/// branch of a linear layer.
struct HybridWeights {
  ModelConfig config;
  LayerPlan plan;
  std::vector<BranchOptions> branches;  ///< [L]; entries of full layers are not read
  LazyTensors tensors;                  ///< lm_head.weight only if it is not tied

  /// Throws Error("export", bad_file) naming it.
  at::Tensor at(const std::string& name) const { return lazy(name).get(); }
  const LazyTensor& lazy(const std::string& name) const;
  bool has(const std::string& name) const { return tensors.contains(name); }
  /// Branch options of the first linear layer; null when every layer is full.
  const BranchOptions* branch() const;
};

/// M(plan) with the aligned branches. Shares memory with the model. Throws Error(plan_impossible)
/// for a plan of another depth.
HybridWeights hybrid_weights(const MorphModel& model, const LayerPlan& plan);
/// The weights of a distilled or finetuned hybrid. Shares memory.
HybridWeights hybrid_weights(const HybridModel& hybrid);

/// A model that computes with these weights, float32 on the CPU: states(ids, weights.plan). Throws
/// Error(bad_file) when a tensor is missing or has another shape than its configuration says.
MorphModel runnable(const HybridWeights& weights);

/// Layer of "model.layers.N....", -1 for other names; whether it is a weight of softmax attention.
int layer_of(const std::string& name);
bool is_mixer(const std::string& name);

/// Logits of several rows with a layer's weights in memory at a time: reads every tensor once,
/// float32 on the CPU. ids: rows of [T] int64 -> [T, vocab] float32 each. Throws as runnable, and
/// what check_stop throws between layers.
std::vector<at::Tensor> logits_by_layer(
    const HybridWeights& weights, const std::vector<at::Tensor>& ids,
    const std::function<void()>& check_stop = [] {});

/// Logits of one row. ids: [T] int64 -> [T, vocab] float32.
at::Tensor logits_of(const MorphModel& model, const LayerPlan& plan, const at::Tensor& ids);

}  // namespace flashmorph
