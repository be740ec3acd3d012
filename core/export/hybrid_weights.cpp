// SPDX-License-Identifier: Apache-2.0
#include "core/export/hybrid_weights.h"

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

std::string branch_name(int64_t layer, const std::string& name) {
  return fmt::format("model.layers.{}.linear_attn.{}", layer, name);
}

at::Tensor checked(const HybridWeights& weights, const std::string& name, at::IntArrayRef shape) {
  const at::Tensor& value = weights.at(name);
  if (value.sizes() != shape)
    throw Error("export", ErrorCode::bad_file,
                fmt::format("tensor {} has shape {}, its configuration says {}", name,
                            shape_text(value.sizes().vec()), shape_text(shape.vec())));
  return value.detach().to(at::kCPU).to(at::kFloat);
}

constexpr int kEmbedding = -1, kHead = -2, kEverything = -3;  // beside the numbers of layers

// Its weights where `part` says, elsewhere one zero in their shape, which nobody reads.
MorphModel runnable_part(const HybridWeights& weights, int part) {
  const at::NoGradGuard no_grad;
  const auto reads = [&](const std::string& name) {
    const int layer = layer_of(name);
    if (part == kEverything) return layer < 0 || !is_mixer(name) || weights.plan.is_full(layer);
    if (part == kEmbedding) return name == "model.embed_tokens.weight";
    if (part == kHead)
      return name == "model.norm.weight" ||
             name == (weights.config.tied ? "model.embed_tokens.weight" : "lm_head.weight");
    return layer == part && (!is_mixer(name) || weights.plan.is_full(layer));
  };
  Checkpoint checkpoint;
  checkpoint.config = weights.config;
  for (const TensorSpec& spec : tensor_table(weights.config))
    checkpoint.tensors[spec.name] = reads(spec.name)
                                        ? checked(weights, spec.name, spec.shape)
                                        : at::zeros({1}, at::kFloat).expand(spec.shape);
  const auto teacher = std::make_shared<const Teacher>(std::move(checkpoint));
  std::vector<LinearBranch> branches;
  for (int l = 0; l < weights.plan.layers; ++l) {
    if (weights.plan.is_full(l) || (part != kEverything && part != l)) {
      branches.push_back(LinearBranch::absent(l));
      continue;
    }
    LinearBranch branch(*teacher, l, weights.branches.at(static_cast<size_t>(l)), 0);
    for (const auto& [name, value] : branch.parameters())
      branch.load(name, checked(weights, branch_name(l, name), value.sizes()));
    branches.push_back(std::move(branch));
  }
  return {teacher, std::move(branches)};
}

}  // namespace

const LazyTensor& HybridWeights::lazy(const std::string& name) const {
  const auto found = tensors.find(name);
  if (found == tensors.end())
    throw Error("export", ErrorCode::bad_file, fmt::format("tensor {} is missing", name));
  return found->second;
}

const BranchOptions* HybridWeights::branch() const {
  for (int l = 0; l < plan.layers; ++l)
    if (!plan.is_full(l)) return &branches.at(static_cast<size_t>(l));
  return nullptr;
}

HybridWeights hybrid_weights(const MorphModel& model, const LayerPlan& plan) {
  if (plan.layers != model.layers())
    throw Error("export", ErrorCode::plan_impossible,
                fmt::format("plan {} is for {} layers, the model has {}", plan.to_string(),
                            plan.layers, model.layers()));
  HybridWeights weights{model.teacher().config(), plan, {}, {}};
  const auto theirs = model.teacher().tensors();
  for (const TensorSpec& spec : tensor_table(weights.config)) {
    const int layer = layer_of(spec.name);
    if (layer < 0 || !is_mixer(spec.name) || plan.is_full(layer))
      weights.tensors[spec.name] = theirs.at(spec.name);
  }
  for (int l = 0; l < plan.layers; ++l) {
    weights.branches.push_back(plan.is_full(l) ? BranchOptions{} : model.branch(l).options());
    if (plan.is_full(l)) continue;
    for (const auto& [name, value] : model.branch(l).parameters())
      weights.tensors[branch_name(l, name)] = value;
  }
  return weights;
}

HybridWeights hybrid_weights(const HybridModel& hybrid) {
  HybridWeights weights{hybrid.config(), hybrid.plan(), {}, {}};
  for (int l = 0; l < hybrid.layers(); ++l)
    weights.branches.push_back(hybrid.plan().is_full(l) ? BranchOptions{}
                                                        : hybrid.branch_options(l));
  for (const HybridTensor& one : hybrid.tensors()) weights.tensors[one.name] = one.value;
  return weights;
}

int layer_of(const std::string& name) {
  constexpr std::string_view kLayers = "model.layers.";
  return name.starts_with(kLayers) ? std::stoi(name.substr(kLayers.size())) : -1;
}

bool is_mixer(const std::string& name) { return name.find(".self_attn.") != std::string::npos; }

MorphModel runnable(const HybridWeights& weights) { return runnable_part(weights, kEverything); }

std::vector<at::Tensor> logits_by_layer(const HybridWeights& weights,
                                        const std::vector<at::Tensor>& ids,
                                        const std::function<void()>& check_stop) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> x;
  {
    const MorphModel embedding = runnable_part(weights, kEmbedding);
    for (const at::Tensor& row : ids) x.push_back(embedding.teacher().embed(row.unsqueeze(0)));
  }
  for (int l = 0; l < weights.plan.layers; ++l) {
    check_stop();
    const MorphModel model = runnable_part(weights, l);
    const Teacher& teacher = model.teacher();
    for (at::Tensor& one : x) {
      const RopeTable rope = teacher.rope_table(0, one.size(1));
      one = one + model.mixer(l, teacher.input_norm(l, one), rope, weights.plan, nullptr);
      one = one + teacher.mlp(l, one);
    }
  }
  const MorphModel head = runnable_part(weights, kHead);
  for (at::Tensor& one : x)
    one = head.teacher().logits(head.teacher().final_norm(one)).squeeze(0).to(at::kFloat);
  return x;
}

at::Tensor logits_of(const MorphModel& model, const LayerPlan& plan, const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  return model.teacher().logits(model.states(ids.unsqueeze(0), plan)).squeeze(0).to(at::kFloat);
}

}  // namespace flashmorph
