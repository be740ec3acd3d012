// SPDX-License-Identifier: Apache-2.0
// The student: weights of one layer plan. Full layers hold the teacher's attention, linear layers
// their branch (method 1, 2.6).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/model/morph_model.h"

namespace flashmorph {

/// Which weights of a hybrid train; the others are the teacher's own tensors, in the same memory.
/// `attention`: softmax projections and q/k norms of full layers, every parameter of the branches.
enum class TrainPart { all, attention };
TrainPart parse_train_part(
    const std::string& name);  ///< throws Error(bad_request) listing the words
std::string to_string(TrainPart part);

/// One named tensor of a hybrid. Names are the teacher's (core/load/tensor_table.h); of a linear
/// layer `self_attn.` is replaced by `linear_attn.` and the branch's own parameter names
/// (core/model/linear_branch.cpp), as
///   model.embed_tokens.weight                         model.layers.3.self_attn.q_proj.weight (full
///   layer) model.layers.3.mlp.gate_proj.weight model.layers.4.linear_attn.o_norm.weight    (linear
///   layer)
/// lm_head.weight is absent when the config says tied.
struct HybridTensor {
  std::string name;
  int layer = -1;       ///< -1: embedding, final norm, head
  bool trains = false;  ///< false: frozen; equal to the teacher's tensor, and in its memory
  at::Tensor value;     ///< float32 master if it trains or belongs to a branch, else the teacher's
                        ///< tensor in the compute dtype
  at::Tensor used;  ///< what the forward reads: the value itself, or its copy in the compute dtype;
                    ///< undefined for branches
};

class HybridModel {
 public:
  /// Teacher weights in the plan's full layers, copies of `aligned`'s branches in the others.
  /// Throws Error(plan_impossible).
  HybridModel(std::shared_ptr<const Teacher> teacher, const MorphModel& aligned, LayerPlan plan,
              TrainPart part);
  /// Fresh branches (method 2.5) of options[l] in the plan's linear layers; entries of full layers
  /// are not read.
  HybridModel(std::shared_ptr<const Teacher> teacher, const std::vector<BranchOptions>& options,
              LayerPlan plan, TrainPart part, uint64_t seed);

  const LayerPlan& plan() const { return plan_; }
  TrainPart part() const { return part_; }
  int layers() const { return plan_.layers; }
  const ModelConfig& config() const { return teacher_->config(); }
  /// The unchanged teacher.
  const Teacher& teacher() const { return *teacher_; }
  std::shared_ptr<const Teacher> teacher_ptr() const { return teacher_; }
  /// The student as the evaluators take it: model().states(ids, plan()). Its teacher() holds the
  /// student's embedding, norms, feed-forwards and attention. Other plans than plan() have no
  /// meaning.
  const MorphModel& model() const { return *model_; }
  /// Of a linear layer. Throws Error(plan_impossible) for a full one.
  const BranchOptions& branch_options(int layer) const;

  /// Every tensor of the hybrid in a fixed order: embedding, layer by layer (norm, mixer, norm,
  /// feed-forward), final norm, head.
  const std::vector<HybridTensor>& tensors() const { return tensors_; }
  bool has(const std::string& name) const;
  /// The value of one of them. Throws Error(bad_request) naming it.
  at::Tensor tensor(const std::string& name) const;
  /// Parameters that train.
  int64_t trainable() const;
  /// All parameters of the hybrid.
  int64_t parameters() const;

  /// Final normed states. ids: [B, T] int64 -> [B, T, D] compute dtype. Differentiable in the
  /// trainable tensors while they require gradients. With a cache the tokens follow those in it.
  at::Tensor states(const at::Tensor& ids, Cache* cache = nullptr) const {
    return model_->states(ids, plan_, cache);
  }
  /// -> [B, T, vocab] in the compute dtype; holds vocabulary x length at once.
  at::Tensor logits(const at::Tensor& ids) const { return model_->teacher().logits(states(ids)); }
  /// Greedy continuation, one-token steps with cache.
  std::vector<int64_t> greedy(const std::vector<int64_t>& ids, int n) const {
    return model_->greedy(ids, plan_, n);
  }

  /// Switches gradients of what the forward reads (`used` of trainable tensors, masters of
  /// branches) on or off.
  void set_requires_grad(bool on);
  /// After the masters changed: renews the low-precision copies.
  void refresh();
  /// Replaces the value of a tensor that trains. Throws Error(bad_file) for another shape.
  void load(const std::string& name, const at::Tensor& value);

 private:
  HybridModel(std::shared_ptr<const Teacher> teacher, LayerPlan plan, TrainPart part,
              std::vector<LinearBranch> branches);
  size_t index_of(const std::string& name) const;  // tensors_.size(): none

  std::shared_ptr<const Teacher> teacher_;
  LayerPlan plan_;
  TrainPart part_;
  std::unique_ptr<MorphModel> model_;
  std::vector<HybridTensor> tensors_;
  std::map<std::string, size_t> index_;
};

}  // namespace flashmorph
