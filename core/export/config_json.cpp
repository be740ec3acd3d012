// SPDX-License-Identifier: Apache-2.0
#include "core/export/config_json.h"

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

nlohmann::json rope_json(const RopeConfig& rope) {
  nlohmann::json json{{"rope_type", rope.type}, {"rope_theta", rope.theta}};
  if (rope.type == "default") return json;
  json["factor"] = rope.factor;
  if (rope.type == "llama3") {
    json["low_freq_factor"] = rope.low_freq_factor;
    json["high_freq_factor"] = rope.high_freq_factor;
    json["original_max_position_embeddings"] = rope.original_max_position;
  }
  if (rope.type == "yarn") {
    json["original_max_position_embeddings"] = rope.original_max_position;
    json["beta_fast"] = rope.beta_fast;
    json["beta_slow"] = rope.beta_slow;
    if (rope.attention_factor > 0) json["attention_factor"] = rope.attention_factor;
    if (rope.mscale > 0) json["mscale"] = rope.mscale;
    if (rope.mscale_all_dim > 0) json["mscale_all_dim"] = rope.mscale_all_dim;
    if (!rope.truncate) json["truncate"] = false;
  }
  return json;
}

nlohmann::json common_config(const ModelConfig& c, ExportDtype dtype) {
  const std::string word = dtype == ExportDtype::bf16  ? "bfloat16"
                           : dtype == ExportDtype::f16 ? "float16"
                                                       : "float32";
  nlohmann::json json{{"vocab_size", c.vocab},
                      {"hidden_size", c.hidden},
                      {"intermediate_size", c.ffn},
                      {"num_hidden_layers", c.layers},
                      {"num_attention_heads", c.heads},
                      {"num_key_value_heads", c.kv_heads},
                      {"head_dim", c.head_dim},
                      {"hidden_act", "silu"},
                      {"initializer_range", 0.02},
                      {"max_position_embeddings", c.max_position},
                      {"rms_norm_eps", c.rms_norm_eps},
                      {"tie_word_embeddings", c.tied},
                      {"use_cache", true},
                      {"dtype", word},
                      {"torch_dtype", word},
                      {"rope_theta", c.rope.theta},
                      {"rope_parameters", rope_json(c.rope)},
                      {"bos_token_id", nullptr},
                      {"eos_token_id", nullptr},
                      {"pad_token_id", nullptr}};
  if (c.rope.type != "default") json["rope_scaling"] = json["rope_parameters"];
  if (c.bos) json["bos_token_id"] = *c.bos;
  if (c.pad) json["pad_token_id"] = *c.pad;
  if (c.eos.size() == 1) json["eos_token_id"] = c.eos[0];
  if (c.eos.size() > 1) json["eos_token_id"] = c.eos;
  return json;
}

std::vector<std::string> layer_types(const LayerPlan& plan) {
  std::vector<std::string> words;
  for (int l = 0; l < plan.layers; ++l)
    words.emplace_back(plan.is_full(l) ? "full_attention" : "linear_attention");
  return words;
}

ModelConfig config_from_json(nlohmann::json json, const std::string& family,
                             const std::string& where) {
  json["model_type"] = family;
  json.erase("layer_types");
  if (!json.contains("head_dim") && json.contains("num_attention_heads") &&
      json.value("num_attention_heads", 0) > 0)
    json["head_dim"] = json.value("hidden_size", 0) / json.value("num_attention_heads", 1);
  return parse_model_config(json.dump(), where);
}

LayerPlan plan_from_json(const nlohmann::json& json, const std::string& where) {
  const auto types = json.find("layer_types");
  if (types == json.end() || !types->is_array())
    throw Error("export", ErrorCode::bad_file, fmt::format("{}: layer_types is missing", where));
  std::vector<int> full;
  for (size_t l = 0; l < types->size(); ++l) {
    if ((*types)[l] == "full_attention")
      full.push_back(static_cast<int>(l));
    else if ((*types)[l] != "linear_attention")
      throw Error(
          "export", ErrorCode::bad_file,
          fmt::format("{}: layer_types[{}] is {}", where, l, (*types)[l].dump().substr(0, 60)));
  }
  return LayerPlan::of(static_cast<int>(types->size()), std::move(full));
}

}  // namespace flashmorph
