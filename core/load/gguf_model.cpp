// SPDX-License-Identifier: Apache-2.0
#include "core/load/gguf_model.h"

#include <array>
#include <cmath>
#include <filesystem>
#include <map>
#include <numbers>

#include <fmt/format.h>

#include "core/load/rope_config.h"
#include "core/load/tensor_table.h"
#include "core/load/text.h"

namespace flashmorph {

namespace {

// Metadata of one architecture: keys are ARCH.NAME.
class Keys {
 public:
  Keys(const GgufFile& file, std::string arch) : file_(file), arch_(std::move(arch)) {}

  std::string full(const std::string& name) const { return arch_ + "." + name; }
  std::optional<int64_t> integer(const std::string& name) const {
    return file_.integer(full(name));
  }
  std::optional<double> number(const std::string& name) const { return file_.number(full(name)); }
  std::optional<std::string> text(const std::string& name) const { return file_.text(full(name)); }

  int64_t required(const std::string& name) const {
    const auto value = integer(name);
    if (!value) refuse_file(file_.where(), full(name), "missing");
    return *value;
  }

  // A number, or an array of one equal number per layer.
  std::optional<int64_t> per_layer(const std::string& name, int64_t layers) const {
    const auto at = file_.metadata().find(full(name));
    if (at == file_.metadata().end()) return std::nullopt;
    if (!std::holds_alternative<GgufArray>(at->second)) return integer(name);
    const auto values = *file_.integers(full(name), 4096);
    if (static_cast<int64_t>(values.size()) != layers)
      refuse_file(file_.where(), full(name),
                  fmt::format("{} entries for {} layers", values.size(), layers));
    for (const int64_t value : values)
      if (value != values.front())
        refuse_model(file_.where(),
                     fmt::format("{}: layers of different shapes are not supported", full(name)),
                     "use a model whose layers are alike");
    return values.front();
  }

 private:
  const GgufFile& file_;
  std::string arch_;
};

// Divisors that the llama3 scaling gives to the frequencies of rope_freqs.
std::vector<double> llama3_divisors(const RopeConfig& rope, int64_t head_dim) {
  const auto original = static_cast<double>(rope.original_max_position);
  std::vector<double> out;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    const double frequency =
        std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
    const double wavelength = 2 * std::numbers::pi / frequency;
    const double smooth = (original / wavelength - rope.low_freq_factor) /
                          (rope.high_freq_factor - rope.low_freq_factor);
    out.push_back(wavelength < original / rope.high_freq_factor ? 1.0
                  : wavelength > original / rope.low_freq_factor
                      ? rope.factor
                      : 1 / ((1 - smooth) / rope.factor + smooth));
  }
  return out;
}

// GGUF keeps llama3's scaling as a tensor of divisors only. When they are exactly what published
// parameters give (context 8192, factors 1 and 4), name the parameters, so that an export can write
// them; else keep the divisors.
void read_rope_freqs(const GgufFile& file, ModelConfig& config) {
  const auto at = file.tensors().find("rope_freqs.weight");
  if (at == file.tensors().end()) return;
  const std::string field = "tensor \"rope_freqs.weight\"";
  if (at->second.shape != std::vector<int64_t>{config.head_dim / 2})
    refuse_file(
        file.where(), field,
        fmt::format("expected [{}], got {}", config.head_dim / 2, shape_text(at->second.shape)));
  const auto divisors = file.dequantize("rope_freqs.weight");
  for (const float divisor : divisors)
    if (!(divisor > 0 && std::isfinite(divisor)))
      refuse_file(file.where(), field, "holds a number that is not positive");
  if (config.rope.type != "default")
    refuse_model(
        file.where(),
        fmt::format("rope_freqs.weight beside rope scaling {} is not supported", config.rope.type),
        "use the Hugging Face directory of the model");
  constexpr double kFloat32 = 1e-5;  // the converter computes in float32
  RopeConfig llama3 = config.rope;
  llama3.type = "llama3";
  llama3.factor = static_cast<double>(divisors.back());
  if (std::abs(llama3.factor - std::round(llama3.factor)) <= kFloat32 * llama3.factor)
    llama3.factor = std::round(llama3.factor);
  llama3.original_max_position = 8192;
  const auto expected = llama3_divisors(llama3, config.head_dim);
  bool equal = llama3.factor > 1;
  for (size_t i = 0; i < expected.size(); ++i)
    equal =
        equal && std::abs(static_cast<double>(divisors[i]) - expected[i]) <= kFloat32 * expected[i];
  if (equal)
    config.rope = llama3;
  else
    config.rope.freq_factors = divisors;
}

void read_rope(const GgufFile& file, const Keys& keys, ModelConfig& config) {
  auto& rope = config.rope;
  rope.theta = keys.number("rope.freq_base").value_or(1e4);
  const int64_t rotated = keys.integer("rope.dimension_count").value_or(config.head_dim);
  if (rotated != config.head_dim)
    refuse_model(file.where(),
                 fmt::format("{} {}: rotation of a part of {} dimensions is not supported",
                             keys.full("rope.dimension_count"), rotated, config.head_dim),
                 "use a model that rotates whole heads");
  const auto scaling = keys.text("rope.scaling.type").value_or("none");
  auto factor = keys.number("rope.scaling.factor");
  if (!factor) factor = keys.number("rope.scale_linear");
  if (scaling == "linear" || (scaling == "none" && factor.value_or(1) != 1)) {
    rope.type = "linear";
    rope.factor = factor.value_or(1);
  } else if (scaling == "yarn") {
    if (keys.number("rope.scaling.attn_factor") || keys.number("rope.scaling.yarn_log_multiplier"))
      refuse_model(file.where(), "yarn with an own attention factor is not supported in GGUF",
                   "use the Hugging Face directory of the model");
    rope.type = "yarn";
    rope.factor = factor.value_or(1);
    rope.original_max_position =
        keys.integer("rope.scaling.original_context_length").value_or(config.max_position);
  } else if (scaling != "none") {
    refuse_model(
        file.where(),
        fmt::format("{} {} is not supported", keys.full("rope.scaling.type"), in_quotes(scaling)),
        "use a model without scaling, or with linear or yarn");
  }
  check_rope(rope, file.where(), keys.full("rope"));
  read_rope_freqs(file, config);
}

std::optional<int64_t> token(const GgufFile& file, const std::string& key, int64_t vocab) {
  const auto id = file.integer(key);
  return id && *id >= 0 && *id < vocab ? id : std::nullopt;
}

void refuse_variants(const GgufFile& file, const Keys& keys) {
  if (keys.integer("expert_count").value_or(0) > 0)
    refuse_model(
        file.where(),
        fmt::format("{}: mixture-of-experts layers are not supported", keys.full("expert_count")),
        "use a dense model");
  if (keys.integer("attention.sliding_window").value_or(0) > 0)
    refuse_model(file.where(),
                 fmt::format("{} is not supported", keys.full("attention.sliding_window")),
                 "use a model whose layers all attend to the whole context");
}

constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kInner = {{
    {"input_layernorm", "attn_norm"},
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
}};

}  // namespace

ModelConfig gguf_model_config(const GgufFile& file) {
  const auto arch = file.text("general.architecture");
  if (!arch) refuse_file(file.where(), "general.architecture", "missing");
  if (*arch != "llama" && *arch != "qwen2" && *arch != "qwen3")
    refuse_model(file.where(),
                 fmt::format("general.architecture {} is not supported", in_quotes(*arch)),
                 "use a model of architecture llama, qwen2 or qwen3");
  const Keys keys(file, *arch);
  refuse_variants(file, keys);

  ModelConfig out;
  out.family = *arch;
  out.layers = keys.required("block_count");
  out.hidden = keys.required("embedding_length");
  out.ffn = keys.per_layer("feed_forward_length", out.layers).value_or(0);
  out.heads = keys.per_layer("attention.head_count", out.layers).value_or(0);
  out.kv_heads = keys.per_layer("attention.head_count_kv", out.layers).value_or(out.heads);
  out.max_position = keys.required("context_length");
  const auto head_dim = keys.integer("attention.key_length");
  if (!head_dim && (out.heads < 1 || out.hidden % out.heads != 0))
    refuse_file(file.where(), keys.full("attention.head_count"),
                fmt::format("{} does not divide {} {}", out.heads, keys.full("embedding_length"),
                            out.hidden));
  out.head_dim = head_dim ? *head_dim : out.hidden / out.heads;
  if (const auto value_dim = keys.integer("attention.value_length");
      value_dim && *value_dim != out.head_dim)
    refuse_model(file.where(),
                 fmt::format("{} differs from the key length", keys.full("attention.value_length")),
                 "use a model whose keys and values have one size");
  out.rms_norm_eps = keys.number("attention.layer_norm_rms_epsilon").value_or(1e-6);
  const auto& tensors = file.tensors();
  const auto embedding = tensors.find("token_embd.weight");
  if (embedding == tensors.end())
    refuse_file(file.where(), "tensor \"token_embd.weight\"", "missing");
  out.vocab = embedding->second.shape.empty() ? 0 : embedding->second.shape.front();
  check_sizes(out, file.where());

  out.tied = !tensors.contains("output.weight");
  out.qk_norm = *arch == "qwen3";
  out.qkv_bias = tensors.contains("blk.0.attn_q.bias");
  out.o_bias = tensors.contains("blk.0.attn_output.bias");
  out.mlp_bias = tensors.contains("blk.0.ffn_gate.bias");
  read_rope(file, keys, out);
  out.bos = token(file, "tokenizer.ggml.bos_token_id", out.vocab);
  out.pad = token(file, "tokenizer.ggml.padding_token_id", out.vocab);
  if (const auto eos = token(file, "tokenizer.ggml.eos_token_id", out.vocab))
    out.eos.push_back(*eos);
  out.dtype = gguf_quantization(file);
  if (out.dtype.empty()) {
    const std::string type = embedding->second.type->name;
    out.dtype = type == "F32" ? "float32" : type == "F16" ? "float16" : "bfloat16";
  }
  out.name = std::filesystem::path(file.where()).stem().string();
  return out;
}

std::string gguf_tensor_name(std::string_view name) {
  const auto dot = name.rfind('.');
  const auto stem = name.substr(0, dot);
  const std::string kind(name.substr(dot));
  if (stem == "model.embed_tokens") return "token_embd" + kind;
  if (stem == "model.norm") return "output_norm" + kind;
  if (stem == "lm_head") return "output" + kind;
  constexpr std::string_view kLayers = "model.layers.";
  const auto after = stem.substr(kLayers.size());
  const auto end = after.find('.');
  for (const auto& [ours, theirs] : kInner)
    if (after.substr(end + 1) == ours)
      return fmt::format("blk.{}.{}{}", after.substr(0, end), theirs, kind);
  refuse_file("gguf_tensor_name", in_quotes(name), "not a name of the tensor table");
}

int64_t gguf_permuted_heads(const ModelConfig& config, std::string_view name) {
  if (config.family != "llama") return 0;
  if (name.find(".q_proj.") != std::string_view::npos) return config.heads;
  if (name.find(".k_proj.") != std::string_view::npos) return config.kv_heads;
  return 0;
}

std::string gguf_quantization(const GgufFile& file) {
  std::map<std::string, int64_t> numbers;
  for (const auto& [name, tensor] : file.tensors())
    if (tensor.type->elements > 1) numbers[tensor.type->name] += tensor.numbers();
  std::string most;
  for (const auto& [type, count] : numbers)
    if (most.empty() || count > numbers[most]) most = type;
  return most;
}

}  // namespace flashmorph
