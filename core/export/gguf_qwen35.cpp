// SPDX-License-Identifier: Apache-2.0
#include "core/export/gguf_qwen35.h"

#include <array>

#include <fmt/format.h>

#include "core/export/gguf_file_writer.h"
#include "core/export/qwen35.h"
#include "core/load/gguf.h"
#include "core/load/json_text.h"
#include "core/load/tokenizer.h"
#include "core/run/error.h"
#include "core/run/file_io.h"
#include "flashmorph_version.h"

namespace flashmorph {

namespace {

namespace fs = std::filesystem;

// Inside a block: our name and the file's. q/k/v of linear layers are joined, A_log becomes ssm_a =
// -exp(A_log).
constexpr std::array<std::pair<const char*, const char*>, 17> kBlock{
    {{"input_layernorm.weight", "attn_norm.weight"},
     {"post_attention_layernorm.weight", "post_attention_norm.weight"},
     {"self_attn.q_proj.weight", "attn_q.weight"},
     {"self_attn.k_proj.weight", "attn_k.weight"},
     {"self_attn.v_proj.weight", "attn_v.weight"},
     {"self_attn.o_proj.weight", "attn_output.weight"},
     {"self_attn.q_norm.weight", "attn_q_norm.weight"},
     {"self_attn.k_norm.weight", "attn_k_norm.weight"},
     {"linear_attn.in_proj_z.weight", "attn_gate.weight"},
     {"linear_attn.in_proj_qkv.weight", "attn_qkv.weight"},
     {"linear_attn.in_proj_a.weight", "ssm_alpha.weight"},
     {"linear_attn.in_proj_b.weight", "ssm_beta.weight"},
     {"linear_attn.norm.weight", "ssm_norm.weight"},
     {"linear_attn.out_proj.weight", "ssm_out.weight"},
     {"mlp.gate_proj.weight", "ffn_gate.weight"},
     {"mlp.up_proj.weight", "ffn_up.weight"},
     {"mlp.down_proj.weight", "ffn_down.weight"}}};
constexpr std::array<std::pair<const char*, const char*>, 3> kOutside{
    {{"model.embed_tokens.weight", "token_embd.weight"},
     {"model.norm.weight", "output_norm.weight"},
     {"lm_head.weight", "output.weight"}}};

std::string gguf_name(const std::string& name) {
  for (const auto& [ours, theirs] : kOutside)
    if (name == ours) return theirs;
  const std::string rest = name.substr(std::string("model.layers.").size());
  const size_t dot = rest.find('.');
  const std::string inner = rest.substr(dot + 1), block = "blk." + rest.substr(0, dot) + ".";
  if (inner == "linear_attn.A_log") return block + "ssm_a";
  if (inner == "linear_attn.dt_bias") return block + "ssm_dt.bias";
  if (inner == "linear_attn.conv1d.weight") return block + "ssm_conv1d.weight";
  for (const auto& [ours, theirs] : kBlock)
    if (inner == ours) return block + theirs;
  throw Error("export", ErrorCode::export_refused,
              fmt::format("architecture qwen35 has no place for tensor {}", name),
              "use --target transformers");
}

const char* pre_of(PreTokenizerRule rule) {
  switch (rule) {
    case PreTokenizerRule::smollm:
      return "smollm";
    case PreTokenizerRule::llama3:
      return "llama-bpe";
    case PreTokenizerRule::qwen35:
      return "qwen35";
    case PreTokenizerRule::qwen2:
      break;
  }
  return "qwen2";
}

void write_tokenizer(GgufFileWriter& out, const fs::path& teacher, const ModelConfig& c) {
  TokenizerParts parts;
  std::string chat;
  if (fs::is_directory(teacher)) {
    parts = read_tokenizer_json(read_whole_file(teacher / "tokenizer.json", uint64_t{256} << 20),
                                "tokenizer.json");
    if (fs::exists(teacher / "chat_template.jinja"))
      chat = read_whole_file(teacher / "chat_template.jinja", uint64_t{1} << 20);
    if (fs::exists(teacher / "tokenizer_config.json")) {
      const auto json =
          parse_json(read_whole_file(teacher / "tokenizer_config.json", uint64_t{16} << 20),
                     "tokenizer_config.json", {.bytes = size_t{16} << 20, .unique_keys = false});
      if (json.contains("chat_template") && json["chat_template"].is_string())
        chat = json["chat_template"].get<std::string>();
    }
  } else {
    const GgufFile file(teacher);
    parts = read_tokenizer_gguf(gguf_tokenizer_fields(file), file.where());
    chat = file.text("tokenizer.chat_template").value_or("");
  }
  std::vector<std::string> tokens(static_cast<size_t>(c.vocab)), merges;
  std::vector<int32_t> types(tokens.size(), 1);
  for (const auto& [piece, id] : parts.vocabulary) tokens.at(static_cast<size_t>(id)) = piece;
  for (const AddedToken& token : parts.added) {
    tokens.at(static_cast<size_t>(token.id)) = token.content;
    types.at(static_cast<size_t>(token.id)) = token.special ? 3 : 4;
  }
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i].empty()) {  // rows of the embedding that no token uses
      tokens[i] = fmt::format("[PAD{}]", i);
      types[i] = 5;
    }
  for (const auto& [left, right] : parts.merges) merges.push_back(left + " " + right);
  out.text("tokenizer.ggml.model", "gpt2");
  out.text("tokenizer.ggml.pre", pre_of(parts.rule));
  out.texts("tokenizer.ggml.tokens", tokens);
  out.i32s("tokenizer.ggml.token_type", types);
  out.texts("tokenizer.ggml.merges", merges);
  const auto bos = c.bos ? c.bos : parts.bos;
  if (bos) out.u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(*bos));
  const auto eos = !c.eos.empty() ? std::optional<int64_t>(c.eos[0]) : parts.eos;
  if (eos) out.u32("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(*eos));
  if (c.pad) out.u32("tokenizer.ggml.padding_token_id", static_cast<uint32_t>(*c.pad));
  out.boolean("tokenizer.ggml.add_bos_token", !parts.prefix.empty());
  if (!chat.empty()) out.text("tokenizer.chat_template", chat);
}

void write_metadata(GgufFileWriter& out, const HybridWeights& weights, const nlohmann::json& config,
                    ExportDtype dtype) {
  const ModelConfig& c = weights.config;
  const auto count = [](int64_t n) { return static_cast<uint32_t>(n); };
  const auto key = [](const char* name) { return std::string("qwen35.") + name; };
  out.text("general.architecture", "qwen35");
  out.text("general.type", "model");
  out.text("general.name", c.name);
  out.text("general.description",
           fmt::format("hybrid of {} by FlashMorph {}, full layers {}", c.name, FLASHMORPH_VERSION,
                       weights.plan.to_string()));
  // llama.cpp's numbers of file types
  out.u32("general.file_type", dtype == ExportDtype::f32    ? 0
                               : dtype == ExportDtype::f16  ? 1
                               : dtype == ExportDtype::q8_0 ? 7
                                                            : 32);
  out.u32("general.quantization_version", 2);
  out.u32(key("block_count"), count(c.layers));
  out.u32(key("context_length"), count(c.max_position));
  out.u32(key("embedding_length"), count(c.hidden));
  out.u32(key("feed_forward_length"), count(c.ffn));
  out.u32(key("attention.head_count"), count(c.heads));
  out.u32(key("attention.head_count_kv"), count(c.kv_heads));
  out.u32(key("attention.key_length"), count(c.head_dim));
  out.u32(key("attention.value_length"), count(c.head_dim));
  out.f32(key("attention.layer_norm_rms_epsilon"), c.rms_norm_eps);
  out.u32(key("rope.dimension_count"), count(c.head_dim));
  out.f32(key("rope.freq_base"), c.rope.theta);
  // Sections deal the rotated pairs out to three axes in turn; for text all axes hold the same
  // position, and no pair may be left to the fourth, which stays 0.
  const auto pairs = static_cast<int32_t>(c.head_dim / 2);
  out.i32s(key("rope.dimension_sections"), {(pairs + 2) / 3, (pairs + 1) / 3, pairs / 3, 0});
  if (c.rope.type == "linear" || c.rope.type == "yarn") {
    out.text(key("rope.scaling.type"), c.rope.type);
    out.f32(key("rope.scaling.factor"), c.rope.factor);
    if (c.rope.type == "yarn")
      out.u32(key("rope.scaling.original_context_length"), count(c.rope.original_max_position));
  }
  out.u32(key("ssm.conv_kernel"), count(config.at("linear_conv_kernel_dim").get<int64_t>()));
  out.u32(key("ssm.state_size"), count(c.head_dim));
  out.u32(key("ssm.group_count"), count(c.heads));
  out.u32(key("ssm.time_step_rank"), count(c.heads));
  out.u32(key("ssm.inner_size"), count(c.heads * c.head_dim));
  std::vector<bool> recurrent;
  for (int l = 0; l < weights.plan.layers; ++l) recurrent.push_back(!weights.plan.is_full(l));
  out.booleans(key("attention.recurrent_layers"), recurrent);
  if (const int n = full_interval(weights.plan); n > 0)
    out.u32(key("full_attention_interval"), static_cast<uint32_t>(n));
}

bool is_one_plus(const std::string& name) {
  return name.ends_with("norm.weight") && !name.ends_with("linear_attn.norm.weight");
}

}  // namespace

void write_gguf_qwen35(const fs::path& path, const HybridWeights& weights, const fs::path& teacher,
                       ExportDtype dtype, const std::function<void(int64_t, int64_t)>& told) {
  if (weights.config.qkv_bias || weights.config.o_bias)
    throw Error("export", ErrorCode::export_refused,
                "architecture qwen35 has no biases in attention", "use --target transformers");
  const TargetModel model = qwen35_model(weights, dtype, /*rescale=*/false);
  GgufFileWriter out;
  write_metadata(out, weights, model.config, dtype);
  if (!teacher.empty()) write_tokenizer(out, teacher, weights.config);
  for (const TargetTensor& one : model.tensors) {
    const std::vector<int64_t>& shape = one.value.shape();
    LazyTensor value = one.value;
    GgufStorage storage = GgufStorage::f32;
    if (one.name.ends_with(".A_log")) {
      value = -one.value.get().exp();
    } else if (one.name.ends_with("conv1d.weight")) {
      value = one.value.get().squeeze(1);
    } else if (is_one_plus(one.name)) {
      value = weights.lazy(one.name);  // norms stand as they are in these files
    } else if (shape.size() == 2 && dtype != ExportDtype::f32) {
      storage = dtype == ExportDtype::bf16                             ? GgufStorage::bf16
                : dtype == ExportDtype::q8_0 && shape.back() % 32 == 0 ? GgufStorage::q8_0
                                                                       : GgufStorage::f16;
    }
    out.tensor(gguf_name(one.name), std::move(value), storage);
  }
  out.write(path, told);
}

HybridWeights gguf_qwen35_weights(const fs::path& path) {
  const auto opened = std::make_shared<const GgufFile>(path);
  const GgufFile& file = *opened;
  const auto number = [&](const char* key) {
    const auto value = file.integer(std::string("qwen35.") + key);
    if (!value)
      throw Error("export", ErrorCode::bad_file,
                  fmt::format("{}: qwen35.{} is missing", file.where(), key));
    return *value;
  };
  const auto flags = file.metadata().find("qwen35.attention.recurrent_layers");
  if (file.text("general.architecture") != "qwen35" || flags == file.metadata().end())
    throw Error("export", ErrorCode::bad_file,
                fmt::format("{}: not a qwen35 with a list of recurrent layers", file.where()));
  HybridWeights weights;
  ModelConfig& c = weights.config;
  c.family = "qwen3";
  c.qk_norm = true;
  c.layers = number("block_count");
  c.hidden = number("embedding_length");
  c.ffn = number("feed_forward_length");
  c.heads = number("attention.head_count");
  c.kv_heads = number("attention.head_count_kv");
  c.head_dim = number("attention.key_length");
  c.max_position = number("context_length");
  c.rms_norm_eps = file.number("qwen35.attention.layer_norm_rms_epsilon").value_or(1e-6);
  c.rope.theta = file.number("qwen35.rope.freq_base").value_or(1e4);
  c.rope.type = file.text("qwen35.rope.scaling.type").value_or("default");
  if (c.rope.type != "default")
    c.rope.factor = file.number("qwen35.rope.scaling.factor").value_or(1);
  if (c.rope.type == "yarn")
    c.rope.original_max_position = number("rope.scaling.original_context_length");
  c.tied = !file.tensors().contains("output.weight");
  c.vocab = file.tensors().at("token_embd.weight").shape.at(0);
  const auto& array = std::get<GgufArray>(flags->second);
  std::vector<int> full;
  for (uint64_t l = 0; l < array.count; ++l)
    if (array.bytes[l] == std::byte{0}) full.push_back(static_cast<int>(l));
  weights.plan = LayerPlan::of(static_cast<int>(array.count), std::move(full));

  // Back to the tensors of the transformers target, whose reader knows the rest.
  LazyTensors theirs;
  const auto take = [&](const std::string& name) {
    const std::string stored = gguf_name(name);
    const auto found = file.tensors().find(stored);
    if (found == file.tensors().end())
      throw Error("export", ErrorCode::bad_file,
                  fmt::format("{}: tensor {} is missing", file.where(), stored));
    const bool conv = name.ends_with("conv1d.weight");
    std::vector<int64_t> shape = found->second.shape;
    if (conv) shape.insert(shape.begin() + 1, 1);
    theirs[name] = {shape, [opened, name, stored, shape] {
                      const GgufTensor& tensor = opened->tensors().at(stored);
                      at::Tensor value = at::empty(shape, at::kFloat);
                      opened->dequantize(
                          tensor, 0,
                          {value.mutable_data_ptr<float>(), static_cast<size_t>(value.numel())});
                      opened->release(tensor, 0, value.numel());
                      if (name.ends_with(".A_log")) value = (-value).log();
                      return is_one_plus(name) ? value - 1 : value;
                    }};
  };
  for (const auto& [ours, other] : kOutside)
    if (!c.tied || std::string(ours) != "lm_head.weight") take(ours);
  for (int l = 0; l < weights.plan.layers; ++l) {
    const std::string layer = fmt::format("model.layers.{}.", l),
                      other = weights.plan.is_full(l) ? "linear_attn." : "self_attn.";
    for (const auto& [ours, name] : kBlock)
      if (!std::string(ours).starts_with(other)) take(layer + ours);
    if (!weights.plan.is_full(l))
      for (const char* name : {"A_log", "dt_bias", "conv1d.weight"})
        take(layer + "linear_attn." + name);
  }
  std::vector<std::string> kinds;
  for (int l = 0; l < weights.plan.layers; ++l)
    kinds.emplace_back(weights.plan.is_full(l) ? "full_attention" : "linear_attention");
  const nlohmann::json config{{"model_type", "qwen3_5_text"},
                              {"partial_rotary_factor", 1.0},
                              {"layer_types", kinds},
                              {"linear_conv_kernel_dim", number("ssm.conv_kernel")},
                              {"num_hidden_layers", c.layers},
                              {"hidden_size", c.hidden},
                              {"intermediate_size", c.ffn},
                              {"num_attention_heads", c.heads},
                              {"num_key_value_heads", c.kv_heads},
                              {"head_dim", c.head_dim},
                              {"vocab_size", c.vocab},
                              {"max_position_embeddings", c.max_position}};
  HybridWeights back = qwen35_weights(config, theirs, file.where());
  back.config = c;
  return back;
}

}  // namespace flashmorph
