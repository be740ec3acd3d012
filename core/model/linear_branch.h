// SPDX-License-Identifier: Apache-2.0
// The linear-attention branch beside each softmax layer (method 2.2, 2.5, 2.6).
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "core/model/teacher.h"

namespace flashmorph {

enum class BranchKind { plain, lightning, gla, simple, mamba2, gdn, kda, window };
BranchKind parse_branch_kind(const std::string& name);  ///< throws Error(bad_request) listing the kinds
std::string to_string(BranchKind kind);

/// Choices of one branch; the defaults of a kind come from BranchOptions::of(kind).
struct BranchOptions {
  BranchKind kind = BranchKind::lightning;
  bool rope = true;          ///< RoPE on q and k
  bool qk_norm = true;       ///< per-head RMSNorm on q and k before RoPE (the teacher's weights, else ones)
  bool silu = false;         ///< SiLU on q, k, v
  int conv = 0;              ///< width of the causal short convolution on q, k, v (0: none)
  bool double_beta = false;  ///< gdn: beta = 2 sigmoid (negative eigenvalues)
  bool spread = false;       ///< gla, simple: half-lives spread over 8..2048 tokens instead of 16
  bool layer_scaled = false; ///< lightning: log decay -(8/H)(1 - l/L)h
  bool skip = true;          ///< mamba2: D v_t
  int sink = 128, window = 256;  ///< window kind, in tokens

  static BranchOptions of(BranchKind kind);
  nlohmann::json to_json() const;
  /// Unknown keys are refused by name.
  static BranchOptions from_json(const nlohmann::json& json);
};

class LinearBranch {
 public:
  /// Transfers the layer's weights (W_q, W_o copied, W_k and W_v expanded per KV head, q/k norms copied) and initialises the
  /// rest (method 2.5, 2.6). Parameters are float32 masters (float64 beside a float64 teacher) on the teacher's device; forward
  /// computes in the teacher's dtype.
  LinearBranch(const Teacher& teacher, int layer, const BranchOptions& options, uint64_t seed);
  /// The place of a branch that these weights do not have; its forward throws Error(plan_impossible).
  static LinearBranch absent(int layer);

  const BranchOptions& options() const { return options_; }
  int layer() const { return layer_; }
  /// Name and float32 master of every trainable parameter, in a fixed order.
  const std::vector<std::pair<std::string, at::Tensor>>& parameters() const { return parameters_; }
  at::Tensor parameter(const std::string& name) const;
  /// Replaces the values (shapes must agree), e.g. from a file. Throws Error(bad_file).
  void load(const std::string& name, const at::Tensor& value);
  void set_requires_grad(bool on);
  /// Drops the cached low-precision copies after the masters changed (optimiser step).
  void refresh();
  /// Scales the output-norm weight (fit of method 2.5); for kinds without an output norm, W_o.
  void scale_output(double factor);

  /// Branch output after W_o. u: [B, T, D] normed layer input -> [B, T, D], compute dtype. With a cache the T tokens follow
  /// those in it. Differentiable in u, and in the parameters when they require gradients.
  at::Tensor forward(const at::Tensor& u, const RopeTable& rope, LayerCache* cache = nullptr) const;

 private:
  explicit LinearBranch(int layer) : layer_(layer) {}
  void add(const std::string& name, const at::Tensor& value);
  bool has(const std::string& name) const;
  at::Tensor use(const std::string& name) const;     // a parameter in the compute dtype
  at::Tensor master(const std::string& name) const;  // the float32 master itself, for decays
  at::Tensor wide(const at::Tensor& x) const { return x.to(dtype_ == at::kDouble ? at::kDouble : at::kFloat); }
  at::Tensor project(const std::string& name, const at::Tensor& u) const;  // u W^T (+ bias)
  at::Tensor heads_of(const at::Tensor& x, int64_t count) const;           // [B, T, count*hd] -> [B, T, count, hd]
  void add_kind_parameters(const Teacher& teacher, uint64_t seed);
  at::Tensor mix(const at::Tensor& u, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, LayerCache* cache) const;
  at::Tensor gated(const at::Tensor& o, const at::Tensor& u) const;

  BranchOptions options_;
  int layer_;
  int64_t heads_ = 0, kv_heads_ = 0, head_dim_ = 0, hidden_ = 0;
  double eps_ = 0;
  at::ScalarType dtype_ = at::kFloat;
  at::Tensor log_decay_;  // [H] float32, lightning
  std::vector<std::pair<std::string, at::Tensor>> parameters_;
  mutable std::map<std::string, at::Tensor> copies_;  // compute-dtype copies, valid while no gradient is wanted
};

}  // namespace flashmorph
