// SPDX-License-Identifier: Apache-2.0
// The morphable model: teacher, one linear branch per layer, and M(I) for every layer plan I (method 1, 2.1).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/model/linear_branch.h"
#include "core/model/teacher.h"
#include "core/run/layer_plan.h"

namespace flashmorph {

class MorphModel {
 public:
  /// One branch per layer, options[l] for layer l (size L, or 1 for all). seed: of the new parameters.
  MorphModel(std::shared_ptr<const Teacher> teacher, std::vector<BranchOptions> options, uint64_t seed);
  /// Branches made elsewhere, one per layer in order (LinearBranch::absent where there is none).
  MorphModel(std::shared_ptr<const Teacher> teacher, std::vector<LinearBranch> branches)
      : teacher_(std::move(teacher)), branches_(std::move(branches)) {}

  const Teacher& teacher() const { return *teacher_; }
  int layers() const { return teacher_->layers(); }
  LinearBranch& branch(int layer) { return branches_[static_cast<size_t>(layer)]; }
  const LinearBranch& branch(int layer) const { return branches_[static_cast<size_t>(layer)]; }

  /// Final normed states of M(plan). ids: [B, T] int64 -> [B, T, D]. Run under at::NoGradGuard unless gradients are wanted.
  /// With a cache the tokens follow those in it, and it is extended.
  at::Tensor states(const at::Tensor& ids, const LayerPlan& plan, Cache* cache = nullptr) const;
  /// One mixer of M(plan): softmax if the plan keeps the layer, else its branch.
  at::Tensor mixer(int layer, const at::Tensor& u, const RopeTable& rope, const LayerPlan& plan, LayerCache* cache) const;
  /// Greedy continuation: n new ids after ids [T], one-token steps with cache.
  std::vector<int64_t> greedy(const std::vector<int64_t>& ids, const LayerPlan& plan, int n) const;

  /// All branch parameters, named "layers.L.NAME", float32.
  std::vector<std::pair<std::string, at::Tensor>> branch_parameters() const;
  /// Writes branches.safetensors-style file: parameters plus metadata (kind and options per layer, teacher hash).
  void save_branches(const std::string& path, const std::map<std::string, std::string>& metadata,
                     at::ScalarType dtype = at::kFloat) const;
  /// Reads what save_branches wrote; options come from the file's metadata. Throws Error(bad_file) naming file and tensor.
  static std::vector<BranchOptions> branch_options_of(const std::string& path);
  void load_branches(const std::string& path);

 private:
  std::shared_ptr<const Teacher> teacher_;
  std::vector<LinearBranch> branches_;
};

}  // namespace flashmorph
