// SPDX-License-Identifier: Apache-2.0
#include "core/model/morph_model.h"

#include <fmt/format.h>

#include "core/load/safetensors.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr const char* kFormat = "flashmorph-branches";
constexpr const char* kVersion = "1";

std::vector<BranchOptions> options_in(const SafetensorsFile& file, const std::string& path) {
  const auto& metadata = file.metadata();
  const auto format = metadata.find("format"), options = metadata.find("branches"), version = metadata.find("version");
  if (format == metadata.end() || format->second != kFormat || options == metadata.end() || version == metadata.end())
    throw Error("load", ErrorCode::bad_file, fmt::format("{} does not hold aligned branches", path),
                "give a branches.safetensors that `flashmorph align` wrote");
  if (version->second != kVersion)
    throw Error("load", ErrorCode::file_too_new,
                fmt::format("{} has branch format {}, this version reads {}", path, version->second.substr(0, 20), kVersion));
  const nlohmann::json list = nlohmann::json::parse(options->second, nullptr, /*allow_exceptions=*/false);
  if (!list.is_array() || list.empty())
    throw Error("load", ErrorCode::bad_file, fmt::format("{}: metadata `branches` is not a JSON list", path));
  std::vector<BranchOptions> result;
  for (const nlohmann::json& one : list) result.push_back(BranchOptions::from_json(one));
  return result;
}

}  // namespace

MorphModel::MorphModel(std::shared_ptr<const Teacher> teacher, std::vector<BranchOptions> options, uint64_t seed)
    : teacher_(std::move(teacher)) {
  const auto L = static_cast<size_t>(teacher_->layers());
  if (options.size() != 1 && options.size() != L)
    throw Error("load", ErrorCode::bad_request,
                fmt::format("{} branch descriptions for {} layers", options.size(), L), "give one, or one per layer");
  branches_.reserve(L);
  for (size_t l = 0; l < L; ++l)
    branches_.emplace_back(*teacher_, static_cast<int>(l), options.size() == 1 ? options[0] : options[l], seed);
}

at::Tensor MorphModel::mixer(int layer, const at::Tensor& u, const RopeTable& rope, const LayerPlan& plan,
                             LayerCache* cache) const {
  return plan.is_full(layer) ? teacher_->attention(layer, u, rope, cache) : branch(layer).forward(u, rope, cache);
}

at::Tensor MorphModel::states(const at::Tensor& ids, const LayerPlan& plan, Cache* cache) const {
  if (plan.layers != layers())
    throw Error("eval", ErrorCode::plan_impossible,
                fmt::format("plan {} is for {} layers, the model has {}", plan.to_string(), plan.layers, layers()));
  const int64_t first = cache ? cache->length : 0;
  const RopeTable rope = teacher_->rope_table(first, ids.size(1));
  at::Tensor x = teacher_->embed(ids);
  for (int l = 0; l < layers(); ++l) {
    x = x + mixer(l, teacher_->input_norm(l, x), rope, plan, cache ? &cache->layer[static_cast<size_t>(l)] : nullptr);
    x = x + teacher_->mlp(l, x);
  }
  if (cache) cache->length += ids.size(1);
  return teacher_->final_norm(x);
}

std::vector<int64_t> MorphModel::greedy(const std::vector<int64_t>& ids, const LayerPlan& plan, int n) const {
  const at::NoGradGuard no_grad;
  const auto on_device = [&](const std::vector<int64_t>& row) {
    return at::tensor(at::ArrayRef<int64_t>(row), at::kLong).unsqueeze(0).to(teacher_->device());
  };
  Cache cache(layers());
  std::vector<int64_t> fresh;
  at::Tensor input = on_device(ids);
  while (static_cast<int>(fresh.size()) < n) {
    const at::Tensor last = states(input, plan, &cache).select(1, -1);
    fresh.push_back(teacher_->logits(last).to(at::kFloat).argmax(-1).item<int64_t>());
    input = on_device({fresh.back()});
  }
  return fresh;
}

std::vector<std::pair<std::string, at::Tensor>> MorphModel::branch_parameters() const {
  std::vector<std::pair<std::string, at::Tensor>> all;
  for (const LinearBranch& one : branches_)
    for (const auto& [name, value] : one.parameters()) all.emplace_back(fmt::format("layers.{}.{}", one.layer(), name), value);
  return all;
}

void MorphModel::save_branches(const std::string& path, const std::map<std::string, std::string>& metadata,
                               at::ScalarType dtype) const {
  std::map<std::string, std::string> full = metadata;
  nlohmann::json options = nlohmann::json::array();
  for (const LinearBranch& one : branches_) options.push_back(one.options().to_json());
  full["format"] = kFormat;
  full["version"] = kVersion;
  full["branches"] = options.dump();
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (auto& [name, value] : branch_parameters()) tensors.emplace_back(name, value.detach().to(at::kCPU).to(dtype));
  write_safetensors(path, tensors, full);
}

std::vector<BranchOptions> MorphModel::branch_options_of(const std::string& path) {
  return options_in(SafetensorsFile(path), path);
}

void MorphModel::load_branches(const std::string& path) {
  const SafetensorsFile file(path);
  const std::vector<BranchOptions> options = options_in(file, path);
  if (options.size() != branches_.size())
    throw Error("load", ErrorCode::bad_file,
                fmt::format("{} has branches for {} layers, the model has {}", path, options.size(), branches_.size()));
  size_t wanted = 0;
  for (LinearBranch& one : branches_) {
    if (options[static_cast<size_t>(one.layer())].to_json() != one.options().to_json())
      throw Error("load", ErrorCode::bad_file,
                  fmt::format("{}: layer {} is of another branch kind or form than the model's", path, one.layer()));
    for (const auto& [name, value] : one.parameters()) {
      const std::string full = fmt::format("layers.{}.{}", one.layer(), name);
      if (!file.entries().contains(full))
        throw Error("load", ErrorCode::bad_file, fmt::format("{}: tensor {} is missing", path, full));
      one.load(name, file.tensor(full).to(teacher_->device()));
      ++wanted;
    }
  }
  if (wanted != file.entries().size())
    throw Error("load", ErrorCode::bad_file,
                fmt::format("{} holds {} tensors, its branches have {}", path, file.entries().size(), wanted));
}

}  // namespace flashmorph
