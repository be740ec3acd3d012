// SPDX-License-Identifier: Apache-2.0
#include "core/export/fla.h"

#include <array>

#include <fmt/format.h>

#include "core/export/config_json.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

// Ours to fla's, tails of names; branches first, since their names hold the shorter ones.
constexpr std::array<std::pair<const char*, const char*>, 5> kParts{
    {{"model.embed_tokens.", "model.embeddings."},
     {".input_layernorm.", ".attn_norm."},
     {".post_attention_layernorm.", ".mlp_norm."},
     {".self_attn.", ".attn."},
     {".linear_attn.", ".attn."}}};

std::string theirs(std::string name) {
  for (const auto& [ours, other] : kParts)
    if (const size_t at = name.find(ours); at != std::string::npos)
      name.replace(at, std::string(ours).size(), other);
  return name;
}

bool is_conv(const std::string& name) { return name.ends_with("_conv1d.weight"); }

[[noreturn]] void refuse(const std::string& what) {
  throw Error("export", ErrorCode::export_refused,
              "fla's gated_deltanet cannot express this hybrid: " + what,
              "flashmorph export --check lists every target and its reasons");
}

}  // namespace

TargetModel fla_model(const HybridWeights& weights, ExportDtype dtype) {
  const ModelConfig& c = weights.config;
  const BranchOptions* first = weights.branch();
  for (int l = 0; l < weights.plan.layers; ++l) {
    if (weights.plan.is_full(l)) continue;
    const BranchOptions& b = weights.branches.at(static_cast<size_t>(l));
    if (b.kind != BranchKind::gdn || !b.silu || b.rope || b.qk_norm)
      refuse(fmt::format("the branch of layer {}", l));
    if (b.to_json() != first->to_json()) refuse("its branches differ in form");
  }
  if (c.qk_norm || c.o_bias || c.mlp_bias || c.heads * c.head_dim != c.hidden ||
      c.rope.type != "default" || !c.rope.freq_factors.empty())
    refuse("the softmax layers of its teacher");
  const BranchOptions form = first ? *first : BranchOptions::of(BranchKind::gdn);
  TargetModel out;
  const nlohmann::json common = common_config(c, dtype);
  nlohmann::json& json = out.config;
  for (const char* key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim",
        "initializer_range", "max_position_embeddings", "tie_word_embeddings", "use_cache", "dtype",
        "torch_dtype", "bos_token_id", "eos_token_id", "pad_token_id"})
    json[key] = common[key];
  json["architectures"] = {"GatedDeltaNetForCausalLM"};
  json["model_type"] = "gated_deltanet";
  json["norm_eps"] = c.rms_norm_eps;
  json["hidden_act"] = "swish";
  json["attn_mode"] = "chunk";
  json["num_heads"] = c.heads;
  json["num_v_heads"] = c.heads;
  json["expand_v"] = 1;
  json["use_gate"] = true;
  json["use_short_conv"] = form.conv > 0;
  json["conv_size"] = form.conv > 0 ? form.conv : 4;
  json["allow_neg_eigval"] = form.double_beta;
  json["attn"] = nullptr;
  if (!weights.plan.full.empty())
    json["attn"] = {{"layers", weights.plan.full}, {"num_heads", c.heads},
                    {"num_kv_heads", c.kv_heads},  {"qkv_bias", c.qkv_bias},
                    {"window_size", nullptr},      {"rope_theta", c.rope.theta}};
  for (const auto& [name, value] : weights.tensors) {
    const bool scalar = name.ends_with(".A_log") || name.ends_with(".dt_bias");
    if (name.ends_with(".A_log")) {
      const at::Tensor a_log = value.get().to(at::kFloat);
      out.decay_max_rel_error = std::max(
          out.decay_max_rel_error,
          (a_log.to(at::kBFloat16).to(at::kFloat) - a_log).expm1().abs().max().item<double>());
    }
    out.tensors.push_back(
        {theirs(name), is_conv(name) ? LazyTensor(value.get().unsqueeze(1)) : value, scalar});
  }
  return out;
}

HybridWeights fla_weights(const nlohmann::json& json, const LazyTensors& tensors,
                          const std::string& where) {
  if (json.value("model_type", std::string()) != "gated_deltanet" ||
      json.value("hidden_act", std::string()) != "swish")
    throw Error("export", ErrorCode::bad_file,
                fmt::format("{}: not a gated_deltanet with swish", where));
  HybridWeights weights;
  const int layers = json.at("num_hidden_layers").get<int>();
  const nlohmann::json attn = json.value("attn", nlohmann::json());
  std::vector<int> full;
  if (attn.is_object()) full = attn.at("layers").get<std::vector<int>>();
  weights.plan = LayerPlan::of(layers, std::move(full));
  nlohmann::json plain = json;
  plain["hidden_act"] = "silu";
  plain["rms_norm_eps"] = json.at("norm_eps");
  plain["num_attention_heads"] = json.at("num_heads");
  plain["num_key_value_heads"] = attn.is_object() ? attn.at("num_kv_heads") : json.at("num_heads");
  if (attn.is_object()) plain["rope_theta"] = attn.at("rope_theta");
  const bool bias = attn.is_object() && attn.at("qkv_bias").get<bool>();
  weights.config = config_from_json(plain, bias ? "qwen2" : "llama", where);
  BranchOptions form = BranchOptions::of(BranchKind::gdn);
  form.conv = json.at("use_short_conv").get<bool>() ? json.at("conv_size").get<int>() : 0;
  form.double_beta = json.at("allow_neg_eigval").get<bool>();
  weights.branches.assign(static_cast<size_t>(layers), form);
  for (const auto& [name, value] : tensors) {
    std::string ours = name;
    for (const auto& [mine, other] : {kParts[0], kParts[1], kParts[2]})
      if (const size_t at = ours.find(other); at != std::string::npos)
        ours.replace(at, std::string(other).size(), mine);
    if (const size_t at = ours.find(".attn."); at != std::string::npos) {
      const int layer = std::stoi(ours.substr(std::string("model.layers.").size()));
      ours.replace(at, 6, weights.plan.is_full(layer) ? ".self_attn." : ".linear_attn.");
    }
    weights.tensors[ours] = is_conv(name) ? LazyTensor(value.get().squeeze(1)) : value;
  }
  return weights;
}

}  // namespace flashmorph
