// SPDX-License-Identifier: Apache-2.0
#include "core/load/model_config.h"

#include <map>

#include <fmt/format.h>

#include "core/load/json_fields.h"
#include "core/load/json_text.h"
#include "core/load/rope_config.h"
#include "core/load/text.h"

namespace flashmorph {

namespace {

constexpr const char* kFamilies = "use a Qwen3, Qwen2, Qwen2.5, Llama 3 or SmolLM2 model";

// Kinds that look loadable but are not; the sentence says why.
const std::map<std::string, std::string>& refused_kinds() {
  static const std::map<std::string, std::string> kinds = {
      {"smollm3", "some of its layers have no position encoding"},
      {"gemma", "its norms multiply by 1 + w"},
      {"gemma2", "its norms multiply by 1 + w and its logits are capped"},
      {"gemma3", "it is a multimodal wrapper, and its norms multiply by 1 + w"},
      {"gemma3_text", "its norms multiply by 1 + w and it has two rope bases"},
      {"phi3", "its projections are fused and its rope is longrope"},
      {"qwen2_moe", "mixture-of-experts layers are not supported"},
      {"qwen3_moe", "mixture-of-experts layers are not supported"},
      {"mixtral", "mixture-of-experts layers are not supported"},
      {"deepseek_v3", "mixture-of-experts layers are not supported"},
      {"llama4", "mixture-of-experts layers are not supported"},
      {"qwen3_next", "it is a hybrid already"},
      {"qwen3_5", "it is a hybrid already"},
      {"qwen3_5_text", "it is a hybrid already"},
      {"hypenet", "it is a hybrid already"},
      {"flashmorph_hybrid", "it is a hybrid already"},
      {"gated_deltanet", "it is a hybrid already"},
  };
  return kinds;
}

// What a family says when its config.json does not.
struct Defaults {
  int64_t max_position;
  int64_t head_dim;  // 0: hidden / heads
  std::optional<int64_t> bos, eos;
};

const std::map<std::string, Defaults>& families() {
  static const std::map<std::string, Defaults> table = {
      {"llama", {2048, 0, 1, 2}},
      {"mistral", {131072, 0, 1, 2}},
      {"qwen2", {32768, 0, std::nullopt, std::nullopt}},
      {"qwen3", {32768, 128, std::nullopt, std::nullopt}},
  };
  return table;
}

void refuse_other_kinds(const JsonFields& fields, const std::string& type,
                        const std::string& where) {
  if (fields.find("text_config") != nullptr || fields.find("vision_config") != nullptr)
    refuse_model(
        where, fmt::format("model_type {} is a multimodal wrapper (text_config)", in_quotes(type)),
        kFamilies);
  if (const auto at = refused_kinds().find(type); at != refused_kinds().end())
    refuse_model(where,
                 fmt::format("model_type {} is not supported: {}", in_quotes(type), at->second),
                 kFamilies);
  if (!families().contains(type))
    refuse_model(where, fmt::format("model_type {} is not supported", in_quotes(type)), kFamilies);
  for (const char* key : {"num_experts", "num_local_experts", "n_routed_experts"})
    if (fields.integer(key).value_or(0) > 0)
      refuse_model(where,
                   fmt::format("{} {}: mixture-of-experts layers are not supported", key,
                               *fields.integer(key)),
                   "use a dense model");
  if (fields.find("quantization_config") != nullptr)
    refuse_model(where, "quantization_config: weights packed by a quantiser are not supported",
                 "use the float16 or bfloat16 files of the model, or a GGUF");
  if (const auto act = fields.text("hidden_act"); act && *act != "silu")
    refuse_model(where, fmt::format("hidden_act {} is not supported", in_quotes(*act)),
                 "use a model with silu");
}

void refuse_windows(const JsonFields& fields, const ModelConfig& config, const std::string& where) {
  constexpr const char* kHint = "use a model whose layers all attend to the whole context";
  if (fields.boolean("use_sliding_window").value_or(false))
    refuse_model(where, "use_sliding_window true is not supported", kHint);
  if (config.family == "mistral" && fields.find("sliding_window") != nullptr)
    refuse_model(
        where, fmt::format("sliding_window {} is not supported", *fields.integer("sliding_window")),
        kHint);
  const auto* kinds = fields.find("layer_types");
  if (kinds == nullptr) return;
  if (!kinds->is_array())
    fields.refuse("layer_types", fmt::format("expected a list, got {}", kinds->type_name()));
  if (kinds->size() != static_cast<size_t>(config.layers))
    fields.refuse("layer_types",
                  fmt::format("{} entries for {} layers", kinds->size(), config.layers));
  for (size_t i = 0; i < kinds->size(); ++i) {
    const auto& kind = (*kinds)[i];
    if (!kind.is_string()) fields.refuse("layer_types", fmt::format("entry {} is not a string", i));
    if (kind != "full_attention")
      refuse_model(where,
                   fmt::format("layer_types[{}] is {}", i, in_quotes(kind.get<std::string>())),
                   kHint);
  }
}

int64_t required(const JsonFields& fields, const std::string& key) {
  const auto value = fields.integer(key);
  if (!value) fields.refuse(key, "missing");
  return *value;
}

// An id, or none when it is absent, null or (as pad_token_id -1) outside the vocabulary.
std::optional<int64_t> token(const JsonFields& fields, const std::string& key, int64_t vocab,
                             std::optional<int64_t> absent) {
  const auto* value = fields.find(key);
  if (value == nullptr) return absent;
  const auto id = fields.integer(key);
  return *id >= 0 && *id < vocab ? id : std::nullopt;
}

std::vector<int64_t> end_tokens(const JsonFields& fields, int64_t vocab,
                                std::optional<int64_t> absent) {
  constexpr size_t kMost = 256;
  std::vector<int64_t> ids;
  const auto* value = fields.find("eos_token_id");
  if (value == nullptr) {
    if (absent && *absent < vocab) ids.push_back(*absent);
    return ids;
  }
  const auto add = [&](const nlohmann::json& id) {
    if (!id.is_number_integer() || id < 0 || id >= vocab)
      fields.refuse("eos_token_id", fmt::format("expected ids of 0..{}", vocab - 1));
    ids.push_back(id.get<int64_t>());
  };
  if (!value->is_array()) {
    add(*value);
    return ids;
  }
  if (value->size() > kMost) fields.refuse("eos_token_id", fmt::format("more than {} ids", kMost));
  for (const auto& id : *value) add(id);
  return ids;
}

}  // namespace

void check_sizes(const ModelConfig& config, const std::string& where) {
  struct Limit {
    const char* name;
    int64_t value, most;
  };
  const Limit limits[] = {{"num_hidden_layers", config.layers, 4096},
                          {"hidden_size", config.hidden, 1 << 20},
                          {"intermediate_size", config.ffn, 1 << 24},
                          {"num_attention_heads", config.heads, 1 << 16},
                          {"num_key_value_heads", config.kv_heads, 1 << 16},
                          {"head_dim", config.head_dim, 1 << 14},
                          {"vocab_size", config.vocab, 1 << 26},
                          {"max_position_embeddings", config.max_position, int64_t{1} << 31}};
  for (const auto& [name, value, most] : limits)
    if (value < 1 || value > most)
      refuse_file(where, name, fmt::format("{} is outside 1..{}", value, most));
  if (config.heads % config.kv_heads != 0)
    refuse_file(
        where, "num_key_value_heads",
        fmt::format("{} does not divide num_attention_heads {}", config.kv_heads, config.heads));
  if (config.head_dim % 2 != 0)
    refuse_file(where, "head_dim",
                fmt::format("{} is odd, rotary embedding needs pairs", config.head_dim));
  if (!(config.rms_norm_eps >= 0 && config.rms_norm_eps <= 1))
    refuse_file(where, "rms_norm_eps", fmt::format("{} is outside 0..1", config.rms_norm_eps));
}

ModelConfig parse_model_config(const std::string& json_text, const std::string& where) {
  const auto json = parse_json(json_text, where);
  if (!json.is_object())
    refuse_file(where, "", fmt::format("expected an object, got {}", json.type_name()));
  const JsonFields fields(json, where);
  const auto type = fields.text("model_type");
  if (!type) fields.refuse("model_type", "missing");
  refuse_other_kinds(fields, *type, where);
  const auto& defaults = families().at(*type);

  ModelConfig out;
  out.family = *type;
  out.layers = required(fields, "num_hidden_layers");
  out.hidden = required(fields, "hidden_size");
  out.ffn = required(fields, "intermediate_size");
  out.heads = required(fields, "num_attention_heads");
  out.vocab = required(fields, "vocab_size");
  out.kv_heads = fields.integer("num_key_value_heads").value_or(out.heads);
  if (const auto head_dim = fields.integer("head_dim")) {
    out.head_dim = *head_dim;
  } else if (defaults.head_dim > 0) {
    out.head_dim = defaults.head_dim;
  } else {
    if (out.heads < 1 || out.hidden % out.heads != 0)
      fields.refuse("num_attention_heads",
                    fmt::format("{} does not divide hidden_size {}", out.heads, out.hidden));
    out.head_dim = out.hidden / out.heads;
  }
  out.max_position = fields.integer("max_position_embeddings").value_or(defaults.max_position);
  out.rms_norm_eps = fields.number("rms_norm_eps").value_or(1e-6);
  check_sizes(out, where);

  out.tied = fields.boolean("tie_word_embeddings").value_or(false);
  const bool attention_bias = fields.boolean("attention_bias").value_or(false);
  const bool mlp_bias = fields.boolean("mlp_bias").value_or(false);
  out.qk_norm = out.family == "qwen3";
  out.qkv_bias = out.family == "qwen2" || (attention_bias && out.family != "mistral");
  out.o_bias = attention_bias && (out.family == "llama" || out.family == "qwen3");
  out.mlp_bias = mlp_bias && out.family == "llama";
  refuse_windows(fields, out, where);
  out.rope = parse_rope(json, out.max_position, where);

  out.bos = token(fields, "bos_token_id", out.vocab,
                  json.contains("bos_token_id") ? std::nullopt : defaults.bos);
  out.pad = token(fields, "pad_token_id", out.vocab, std::nullopt);
  out.eos =
      end_tokens(fields, out.vocab, json.contains("eos_token_id") ? std::nullopt : defaults.eos);
  const auto dtype = fields.text("dtype"), old_dtype = fields.text("torch_dtype");
  out.dtype = dtype ? *dtype : old_dtype.value_or("");
  return out;
}

}  // namespace flashmorph
