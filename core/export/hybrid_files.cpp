// SPDX-License-Identifier: Apache-2.0
#include "core/export/hybrid_files.h"

#include <fmt/format.h>

#include "core/load/gguf.h"
#include "core/load/gguf_model.h"
#include "core/load/hf_directory.h"
#include "core/load/safetensors.h"
#include "core/run/error.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

// Rows of interleaved rotary pairs back to halves, as load_checkpoint does: view (heads, hd/2, 2,
// in), swap the middle axes.
at::Tensor halves_of(const at::Tensor& rows, int64_t heads) {
  const int64_t pairs = rows.size(0) / heads / 2;
  return rows.view({heads, pairs, 2, -1}).transpose(1, 2).reshape(rows.sizes());
}

LazyTensor of_gguf(const std::shared_ptr<const GgufFile>& file, const ModelConfig& config,
                   const TensorSpec& spec) {
  const int64_t heads = gguf_permuted_heads(config, spec.name);
  return {spec.shape, [file, heads, spec] {
            const GgufTensor& tensor = file->tensors().at(gguf_tensor_name(spec.name));
            at::Tensor out = at::empty(spec.shape, at::kFloat);
            file->dequantize(tensor, 0,
                             {out.mutable_data_ptr<float>(), static_cast<size_t>(out.numel())});
            file->release(tensor, 0, out.numel());
            return heads > 0 ? halves_of(out, heads) : out;
          }};
}

LazyTensor of_safetensors(const std::shared_ptr<const SafetensorsFile>& file,
                          const std::string& name) {
  const auto found = file->entries().find(name);
  if (found == file->entries().end())
    throw Error("load", ErrorCode::bad_file,
                fmt::format("{} lacks tensor {}", file->path().filename().string(), name));
  const std::vector<int64_t> shape = found->second.shape;
  return {shape, [file, name] {
            // A copy, so that the pages can go.
            at::Tensor out = file->tensor(name).to(at::kFloat, /*non_blocking=*/false,
                                                   /*copy=*/true);
            file->release(name);
            return out;
          }};
}

// Names and tensors of the teacher that the plan keeps, by name.
void add_teacher(HybridWeights& weights, const fs::path& model) {
  const auto wanted = [&](const TensorSpec& spec) {
    const int layer = layer_of(spec.name);
    return layer < 0 || !is_mixer(spec.name) || weights.plan.is_full(layer);
  };
  if (fs::is_directory(model)) {
    const auto directory = std::make_shared<const HfDirectory>(model);
    directory->check_tied_head();
    weights.config = directory->config();
    weights.config.name = inspect_checkpoint(model).name;
    for (const TensorSpec& spec : tensor_table(weights.config))
      if (wanted(spec))
        weights.tensors[spec.name] = {spec.shape, [directory, name = spec.name] {
                                        return directory->tensor(name, at::kFloat, at::kCPU);
                                      }};
    return;
  }
  weights.config = inspect_checkpoint(model);  // checks names, shapes and block types
  const auto file = std::make_shared<const GgufFile>(model);
  for (const TensorSpec& spec : tensor_table(weights.config))
    if (wanted(spec)) weights.tensors[spec.name] = of_gguf(file, weights.config, spec);
}

}  // namespace

HybridWeights weights_of_files(const fs::path& model, const fs::path& aligned,
                               const fs::path& hybrid, const LayerPlan& plan,
                               std::vector<BranchOptions> branches) {
  HybridWeights weights{{}, plan, std::move(branches), {}};
  add_teacher(weights, model);
  if (static_cast<int64_t>(plan.layers) != weights.config.layers ||
      weights.branches.size() != static_cast<size_t>(plan.layers))
    throw Error("export", ErrorCode::plan_impossible,
                fmt::format("plan {} is for {} layers, the model has {}", plan.to_string(),
                            plan.layers, weights.config.layers));
  if (hybrid.empty() && aligned.empty()) return weights;
  const auto own = std::make_shared<const SafetensorsFile>(hybrid.empty() ? aligned : hybrid);
  if (!hybrid.empty()) {
    // Whatever trained; the rest is the teacher's.
    for (const auto& [name, entry] : own->entries()) {
      const bool branch = name.find(".linear_attn.") != std::string::npos;
      if (!branch && !weights.tensors.contains(name))
        throw Error("export", ErrorCode::bad_file,
                    fmt::format("{}: tensor {} does not belong to plan {}",
                                hybrid.filename().string(), name, plan.to_string()));
      weights.tensors[name] = of_safetensors(own, name);
    }
    return weights;
  }
  for (const auto& [name, entry] : own->entries()) {
    constexpr std::string_view kLayers = "layers.";
    if (!name.starts_with(kLayers)) continue;
    const std::string rest = name.substr(kLayers.size());
    const size_t dot = rest.find('.');
    const int layer = std::stoi(rest);
    if (dot != std::string::npos && !plan.is_full(layer))
      weights.tensors[fmt::format("model.layers.{}.linear_attn.{}", layer, rest.substr(dot + 1))] =
          of_safetensors(own, name);
  }
  return weights;
}

}  // namespace flashmorph
