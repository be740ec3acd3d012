// SPDX-License-Identifier: Apache-2.0
#include "core/export/hypenet.h"

#include <fmt/format.h>

#include "core/export/config_json.h"
#include "core/run/error.h"
#include "kernels/decay_slopes.h"

namespace flashmorph {

namespace {

// All linear layers must be of one form: the class has one description for them.
const BranchOptions* one_form(const HybridWeights& weights) {
  const BranchOptions* first = weights.branch();
  for (int l = 0; l < weights.plan.layers; ++l) {
    if (weights.plan.is_full(l)) continue;
    const BranchOptions& here = weights.branches.at(static_cast<size_t>(l));
    if (here.kind != BranchKind::lightning)
      throw Error("export", ErrorCode::export_refused,
                  fmt::format("the class flashmorph_hybrid has lightning branches, layer {} is {}",
                              l, to_string(here.kind)),
                  "export the plan alone with --target plan");
    if (here.to_json() != first->to_json())
      throw Error("export", ErrorCode::export_refused,
                  fmt::format("layer {} has another form of lightning branch than the first", l),
                  "align every branch with the same options");
  }
  return first;
}

nlohmann::json slopes_json(const ModelConfig& c, const BranchOptions& branch) {
  if (!branch.layer_scaled) return kernels::lightning_slopes(c.heads);
  nlohmann::json rows = nlohmann::json::array();
  for (int64_t l = 0; l < c.layers; ++l) {
    const double depth = 1.0 - static_cast<double>(l) / static_cast<double>(c.layers);
    nlohmann::json row = nlohmann::json::array();
    for (int64_t h = 0; h < c.heads; ++h)
      row.push_back((8.0 / static_cast<double>(c.heads)) * depth * static_cast<double>(h));
    rows.push_back(row);
  }
  return rows;
}

bool is_conv(const std::string& name) { return name.ends_with("_conv1d.weight"); }

std::string replaced(std::string name, const std::string& from, const std::string& to) {
  const size_t at = name.find(from);
  return at == std::string::npos ? name : name.replace(at, from.size(), to);
}

}  // namespace

TargetModel hypenet_model(const HybridWeights& weights, ExportDtype dtype) {
  const ModelConfig& c = weights.config;
  const BranchOptions* branch = one_form(weights);
  const BranchOptions form = branch ? *branch : BranchOptions::of(BranchKind::lightning);
  TargetModel out;
  nlohmann::json& json = out.config;
  json = common_config(c, dtype);
  json["architectures"] = {"FlashMorphForCausalLM"};
  json["model_type"] = "flashmorph_hybrid";
  json["auto_map"] = {{"AutoConfig", "configuration_flashmorph.FlashMorphConfig"},
                      {"AutoModelForCausalLM", "modeling_flashmorph.FlashMorphForCausalLM"}};
  json["teacher_family"] = c.family;
  json["qk_norm"] = c.qk_norm;
  json["qkv_bias"] = c.qkv_bias;
  json["attention_o_bias"] = c.o_bias;
  json["mlp_bias"] = c.mlp_bias;
  if (!c.rope.freq_factors.empty()) json["rope_freq_factors"] = c.rope.freq_factors;
  json["layer_types"] = layer_types(weights.plan);
  std::vector<std::string> mixers;
  for (int l = 0; l < weights.plan.layers; ++l)
    mixers.emplace_back(weights.plan.is_full(l) ? "attn" : "lightning-attn");
  json["mixer_types"] = mixers;
  json["attn_use_rope"] = true;
  json["attn_use_output_gate"] = false;
  json["attn_logits_scaling"] = nullptr;
  json["lightning_use_rope"] = form.rope;
  json["lightning_rope_scaling"] = nullptr;
  json["lightning_nh"] = c.heads;
  json["lightning_nkv"] = c.heads;
  json["lightning_head_dim"] = c.head_dim;
  json["lightning_scale"] = "1/sqrt(d)";
  json["lightning_use_qk_norm"] = form.qk_norm;
  json["lightning_use_qkv_bias"] = c.qkv_bias;
  json["lightning_use_silu"] = form.silu;
  json["lightning_use_output_norm"] = true;
  json["lightning_use_output_gate"] = true;
  json["lightning_use_short_conv"] = form.conv > 0;
  if (form.conv > 0) json["lightning_conv_size"] = form.conv;
  json["lightning_layer_scaled"] = form.layer_scaled;
  json["lightning_slopes"] = slopes_json(c, form);
  for (const auto& [name, value] : weights.tensors)
    out.tensors.push_back({replaced(name, ".linear_attn.", ".self_attn."),
                           is_conv(name) ? LazyTensor(value.get().unsqueeze(1)) : value, false});
  return out;
}

HybridWeights hypenet_weights(const nlohmann::json& json, const LazyTensors& tensors,
                              const std::string& where) {
  const std::string family = json.value("teacher_family", std::string());
  if (json.value("model_type", std::string()) != "flashmorph_hybrid" ||
      (family != "llama" && family != "mistral" && family != "qwen2" && family != "qwen3"))
    throw Error("export", ErrorCode::bad_file,
                fmt::format("{}: not a flashmorph_hybrid with a teacher family we know", where));
  HybridWeights weights;
  ModelConfig& c = weights.config;
  c = config_from_json(json, family, where);
  c.qk_norm = json.at("qk_norm").get<bool>();
  c.qkv_bias = json.at("qkv_bias").get<bool>();
  c.o_bias = json.at("attention_o_bias").get<bool>();
  c.mlp_bias = json.at("mlp_bias").get<bool>();
  if (json.contains("rope_freq_factors"))
    c.rope.freq_factors = json["rope_freq_factors"].get<std::vector<float>>();
  weights.plan = plan_from_json(json, where);
  BranchOptions form = BranchOptions::of(BranchKind::lightning);
  form.rope = json.at("lightning_use_rope").get<bool>();
  form.qk_norm = json.at("lightning_use_qk_norm").get<bool>();
  form.silu = json.at("lightning_use_silu").get<bool>();
  form.conv = json.at("lightning_use_short_conv").get<bool>()
                  ? json.at("lightning_conv_size").get<int>()
                  : 0;
  form.layer_scaled = json.at("lightning_layer_scaled").get<bool>();
  weights.branches.assign(static_cast<size_t>(weights.plan.layers), form);
  for (const auto& [name, value] : tensors) {
    std::string ours = name;
    for (int l = 0; l < weights.plan.layers; ++l) {
      const std::string mixer = fmt::format("model.layers.{}.self_attn.", l);
      if (!weights.plan.is_full(l) && name.starts_with(mixer))
        ours = replaced(name, ".self_attn.", ".linear_attn.");
    }
    weights.tensors[ours] = is_conv(name) ? LazyTensor(value.get().squeeze(1)) : value;
  }
  return weights;
}

}  // namespace flashmorph
