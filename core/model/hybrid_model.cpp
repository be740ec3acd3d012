// SPDX-License-Identifier: Apache-2.0
#include "core/model/hybrid_model.h"

#include <functional>
#include <string_view>

#include <fmt/format.h>

#include "core/load/tensor_table.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

void check_plan(const Teacher& teacher, const LayerPlan& plan) {
  if (plan.layers != teacher.layers())
    throw Error("distill", ErrorCode::plan_impossible,
                fmt::format("plan {} is for {} layers, the model has {}", plan.to_string(),
                            plan.layers, teacher.layers()));
}

// Layer of "model.layers.12.mlp....", -1 for the rest.
int layer_of(const std::string& name) {
  constexpr std::string_view prefix = "model.layers.";
  return name.starts_with(prefix) ? std::stoi(name.substr(prefix.size())) : -1;
}

std::vector<LinearBranch> fresh_branches(const Teacher& teacher, const LayerPlan& plan,
                                         const std::function<BranchOptions(int)>& options,
                                         uint64_t seed) {
  check_plan(teacher, plan);
  std::vector<LinearBranch> branches;
  branches.reserve(static_cast<size_t>(plan.layers));
  for (int l = 0; l < plan.layers; ++l)
    branches.push_back(plan.is_full(l) ? LinearBranch::absent(l)
                                       : LinearBranch(teacher, l, options(l), seed));
  return branches;
}

std::vector<LinearBranch> copied_branches(const Teacher& teacher, const MorphModel& aligned,
                                          const LayerPlan& plan) {
  std::vector<LinearBranch> branches = fresh_branches(
      teacher, plan, [&](int l) { return aligned.branch(l).options(); }, /*seed=*/0);
  for (LinearBranch& one : branches)
    if (!plan.is_full(one.layer()))
      for (const auto& [name, value] : aligned.branch(one.layer()).parameters())
        one.load(name, value);
  return branches;
}

}  // namespace

TrainPart parse_train_part(const std::string& name) {
  if (name == "all") return TrainPart::all;
  if (name == "attention") return TrainPart::attention;
  throw Error("distill", ErrorCode::bad_request,
              fmt::format("train_part \"{}\" is unknown", name.substr(0, 40)),
              "use all or attention");
}

std::string to_string(TrainPart part) { return part == TrainPart::all ? "all" : "attention"; }

HybridModel::HybridModel(std::shared_ptr<const Teacher> teacher, const MorphModel& aligned,
                         LayerPlan plan, TrainPart part)
    : HybridModel(teacher, plan, part, copied_branches(*teacher, aligned, plan)) {}

HybridModel::HybridModel(std::shared_ptr<const Teacher> teacher,
                         const std::vector<BranchOptions>& options, LayerPlan plan, TrainPart part,
                         uint64_t seed)
    : HybridModel(
          teacher, plan, part,
          fresh_branches(
              *teacher, plan, [&](int l) { return options.at(static_cast<size_t>(l)); }, seed)) {}

HybridModel::HybridModel(std::shared_ptr<const Teacher> teacher, LayerPlan plan, TrainPart part,
                         std::vector<LinearBranch> branches)
    : teacher_(std::move(teacher)), plan_(std::move(plan)), part_(part) {
  const at::NoGradGuard no_grad;
  const std::map<std::string, at::Tensor> theirs = teacher_->tensors();
  const at::ScalarType compute = teacher_->dtype(),
                       wide = compute == at::kDouble ? at::kDouble : at::kFloat;
  Checkpoint own;
  own.config = teacher_->config();
  own.tensors =
      theirs;  // the softmax weights of linear layers stay the teacher's: nobody reads them
  const auto add_branch = [&](int layer) {
    for (const auto& [name, value] : branches[static_cast<size_t>(layer)].parameters())
      tensors_.push_back(
          {fmt::format("model.layers.{}.linear_attn.{}", layer, name), layer, true, value, {}});
  };
  int done = -1;  // the last linear layer whose branch is listed
  for (const TensorSpec& spec : tensor_table(own.config)) {
    const int layer = layer_of(spec.name);
    const bool mixer = spec.name.find(".self_attn.") != std::string::npos;
    if (mixer && !plan_.is_full(layer)) {
      if (done != layer) add_branch(layer);
      done = layer;
      continue;
    }
    HybridTensor one{spec.name, layer, part == TrainPart::all || mixer, theirs.at(spec.name), {}};
    one.used = one.value;
    if (one.trains) {
      one.value = one.value.to(wide, /*non_blocking=*/false, /*copy=*/true).contiguous();
      one.used = wide == compute ? one.value : one.value.to(compute);
      own.tensors[spec.name] = one.used;
    }
    tensors_.push_back(std::move(one));
  }
  for (size_t i = 0; i < tensors_.size(); ++i) index_[tensors_[i].name] = i;
  model_ = std::make_unique<MorphModel>(std::make_shared<const Teacher>(std::move(own)),
                                        std::move(branches));
}

const BranchOptions& HybridModel::branch_options(int layer) const {
  if (layer < 0 || layer >= layers() || plan_.is_full(layer))
    throw Error("export", ErrorCode::plan_impossible,
                fmt::format("layer {} of plan {} has no linear branch", layer, plan_.to_string()));
  return model_->branch(layer).options();
}

size_t HybridModel::index_of(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? tensors_.size() : found->second;
}

bool HybridModel::has(const std::string& name) const { return index_of(name) < tensors_.size(); }

at::Tensor HybridModel::tensor(const std::string& name) const {
  const size_t i = index_of(name);
  if (i == tensors_.size())
    throw Error("export", ErrorCode::bad_request,
                fmt::format("the hybrid has no tensor {}", name.substr(0, 200)));
  return tensors_[i].value;
}

int64_t HybridModel::trainable() const {
  int64_t count = 0;
  for (const HybridTensor& one : tensors_) count += one.trains ? one.value.numel() : 0;
  return count;
}

int64_t HybridModel::parameters() const {
  int64_t count = 0;
  for (const HybridTensor& one : tensors_) count += one.value.numel();
  return count;
}

void HybridModel::set_requires_grad(bool on) {
  for (HybridTensor& one : tensors_)
    if (one.trains) (one.used.defined() ? one.used : one.value).set_requires_grad(on);
}

void HybridModel::refresh() {
  const at::NoGradGuard no_grad;
  for (HybridTensor& one : tensors_)
    if (one.trains && one.used.defined() && !one.used.is_same(one.value)) one.used.copy_(one.value);
  for (int l = 0; l < layers(); ++l)
    if (!plan_.is_full(l)) model_->branch(l).refresh();
}

void HybridModel::load(const std::string& name, const at::Tensor& value) {
  const at::NoGradGuard no_grad;
  const size_t i = index_of(name);
  if (i == tensors_.size() || !tensors_[i].trains || tensors_[i].value.sizes() != value.sizes())
    throw Error("load", ErrorCode::bad_file,
                fmt::format("tensor {} does not fit this hybrid", name.substr(0, 200)),
                "load it over the teacher and with the plan it was made for");
  HybridTensor& one = tensors_[i];
  one.value.copy_(value);
  if (!one.used.defined())
    model_->branch(one.layer).refresh();
  else if (!one.used.is_same(one.value))
    one.used.copy_(one.value);
}

}  // namespace flashmorph
