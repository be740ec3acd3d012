// SPDX-License-Identifier: Apache-2.0
#include "core/load/tensor_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace flashmorph {

std::vector<TensorSpec> tensor_table(const ModelConfig& c) {
  const int64_t queries = c.heads * c.head_dim, keys = c.kv_heads * c.head_dim;
  std::vector<TensorSpec> table;
  table.push_back({"model.embed_tokens.weight", {c.vocab, c.hidden}});
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string at = fmt::format("model.layers.{}.", layer);
    const auto linear = [&](const char* name, int64_t out, int64_t in, bool bias) {
      table.push_back({at + name + ".weight", {out, in}});
      if (bias) table.push_back({at + name + ".bias", {out}});
    };
    table.push_back({at + "input_layernorm.weight", {c.hidden}});
    linear("self_attn.q_proj", queries, c.hidden, c.qkv_bias);
    linear("self_attn.k_proj", keys, c.hidden, c.qkv_bias);
    linear("self_attn.v_proj", keys, c.hidden, c.qkv_bias);
    linear("self_attn.o_proj", c.hidden, queries, c.o_bias);
    if (c.qk_norm) {
      table.push_back({at + "self_attn.q_norm.weight", {c.head_dim}});
      table.push_back({at + "self_attn.k_norm.weight", {c.head_dim}});
    }
    table.push_back({at + "post_attention_layernorm.weight", {c.hidden}});
    linear("mlp.gate_proj", c.ffn, c.hidden, c.mlp_bias);
    linear("mlp.up_proj", c.ffn, c.hidden, c.mlp_bias);
    linear("mlp.down_proj", c.hidden, c.ffn, c.mlp_bias);
  }
  table.push_back({"model.norm.weight", {c.hidden}});
  if (!c.tied) table.push_back({"lm_head.weight", {c.vocab, c.hidden}});
  return table;
}

int64_t weight_count(const ModelConfig& config) {
  int64_t weights = 0;
  for (const TensorSpec& tensor : tensor_table(config)) {
    int64_t count = 1;
    for (const int64_t size : tensor.shape) count *= size;
    weights += count;
  }
  return weights;
}

bool is_ignored_tensor(const std::string& name) { return name.ends_with(".rotary_emb.inv_freq"); }

std::string shape_text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace flashmorph
