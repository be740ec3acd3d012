// SPDX-License-Identifier: Apache-2.0
#include "core/model/teacher.h"

#include <fmt/format.h>

#include "core/run/error.h"
#include "kernels/rms_norm.h"

namespace flashmorph {

namespace {

at::Tensor take(Checkpoint& checkpoint, const std::string& name, bool wanted = true) {
  if (!wanted) return {};
  const auto found = checkpoint.tensors.find(name);
  if (found == checkpoint.tensors.end())
    throw Error("load", ErrorCode::bad_file, fmt::format("{}: tensor {} is missing", checkpoint.config.name, name));
  return found->second;
}

std::optional<at::Tensor> maybe(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
}

}  // namespace

Teacher::Teacher(Checkpoint checkpoint)
    : config_(checkpoint.config), rope_(checkpoint.config, take(checkpoint, "model.embed_tokens.weight").device()) {
  embedding_ = take(checkpoint, "model.embed_tokens.weight");
  norm_ = take(checkpoint, "model.norm.weight");
  head_ = config_.tied ? embedding_ : take(checkpoint, "lm_head.weight");
  for (int64_t l = 0; l < config_.layers; ++l) {
    const std::string layer = fmt::format("model.layers.{}.", l), attention = layer + "self_attn.", mlp = layer + "mlp.";
    LayerWeights w;
    w.input_norm = take(checkpoint, layer + "input_layernorm.weight");
    w.post_norm = take(checkpoint, layer + "post_attention_layernorm.weight");
    w.q = take(checkpoint, attention + "q_proj.weight");
    w.k = take(checkpoint, attention + "k_proj.weight");
    w.v = take(checkpoint, attention + "v_proj.weight");
    w.o = take(checkpoint, attention + "o_proj.weight");
    w.q_bias = take(checkpoint, attention + "q_proj.bias", config_.qkv_bias);
    w.k_bias = take(checkpoint, attention + "k_proj.bias", config_.qkv_bias);
    w.v_bias = take(checkpoint, attention + "v_proj.bias", config_.qkv_bias);
    w.o_bias = take(checkpoint, attention + "o_proj.bias", config_.o_bias);
    w.q_norm = take(checkpoint, attention + "q_norm.weight", config_.qk_norm);
    w.k_norm = take(checkpoint, attention + "k_norm.weight", config_.qk_norm);
    w.gate = take(checkpoint, mlp + "gate_proj.weight");
    w.up = take(checkpoint, mlp + "up_proj.weight");
    w.down = take(checkpoint, mlp + "down_proj.weight");
    w.gate_bias = take(checkpoint, mlp + "gate_proj.bias", config_.mlp_bias);
    w.up_bias = take(checkpoint, mlp + "up_proj.bias", config_.mlp_bias);
    w.down_bias = take(checkpoint, mlp + "down_proj.bias", config_.mlp_bias);
    layers_.push_back(std::move(w));
  }
}

std::map<std::string, at::Tensor> Teacher::tensors() const {
  std::map<std::string, at::Tensor> all{{"model.embed_tokens.weight", embedding_}, {"model.norm.weight", norm_}};
  if (!config_.tied) all["lm_head.weight"] = head_;
  for (int l = 0; l < layers(); ++l) {
    const LayerWeights& w = weights(l);
    const std::string layer = fmt::format("model.layers.{}.", l), attention = layer + "self_attn.", mlp = layer + "mlp.";
    const auto put = [&](const std::string& name, const at::Tensor& value) {
      if (value.defined()) all[name] = value;
    };
    put(layer + "input_layernorm.weight", w.input_norm);
    put(layer + "post_attention_layernorm.weight", w.post_norm);
    put(attention + "q_proj.weight", w.q);
    put(attention + "k_proj.weight", w.k);
    put(attention + "v_proj.weight", w.v);
    put(attention + "o_proj.weight", w.o);
    put(attention + "q_proj.bias", w.q_bias);
    put(attention + "k_proj.bias", w.k_bias);
    put(attention + "v_proj.bias", w.v_bias);
    put(attention + "o_proj.bias", w.o_bias);
    put(attention + "q_norm.weight", w.q_norm);
    put(attention + "k_norm.weight", w.k_norm);
    put(mlp + "gate_proj.weight", w.gate);
    put(mlp + "up_proj.weight", w.up);
    put(mlp + "down_proj.weight", w.down);
    put(mlp + "gate_proj.bias", w.gate_bias);
    put(mlp + "up_proj.bias", w.up_bias);
    put(mlp + "down_proj.bias", w.down_bias);
  }
  return all;
}

at::Tensor Teacher::embed(const at::Tensor& ids) const { return at::embedding(embedding_, ids); }

at::Tensor Teacher::input_norm(int layer, const at::Tensor& x) const {
  return kernels::rms_norm(x, weights(layer).input_norm, config_.rms_norm_eps);
}

at::Tensor Teacher::attention(int layer, const at::Tensor& u, const RopeTable& rope, LayerCache* cache) const {
  const LayerWeights& w = weights(layer);
  const int64_t B = u.size(0), T = u.size(1), H = config_.heads, G = config_.kv_heads, hd = config_.head_dim;
  at::Tensor q = at::linear(u, w.q, maybe(w.q_bias)).view({B, T, H, hd});
  at::Tensor k = at::linear(u, w.k, maybe(w.k_bias)).view({B, T, G, hd});
  at::Tensor v = at::linear(u, w.v, maybe(w.v_bias)).view({B, T, G, hd});
  if (config_.qk_norm) {
    q = kernels::rms_norm(q, w.q_norm, config_.rms_norm_eps);
    k = kernels::rms_norm(k, w.k_norm, config_.rms_norm_eps);
  }
  q = Rope::apply(q, rope);
  k = Rope::apply(k, rope);
  if (cache) {
    if (cache->keys.defined()) {
      k = at::cat({cache->keys, k}, 1);
      v = at::cat({cache->values, v}, 1);
    }
    cache->keys = k;
    cache->values = v;
  }
  q = q.transpose(1, 2);
  k = k.transpose(1, 2);
  v = v.transpose(1, 2);
  const int64_t S = k.size(2);
  // The CPU's fused attention wants as many k/v heads as query heads; on a GPU groups cost nothing.
  const bool grouped = u.is_cuda() && G != H;
  if (!grouped && G != H) {
    const auto expand = [&](const at::Tensor& x) {
      return x.unsqueeze(2).expand({B, G, H / G, S, hd}).reshape({B, H, S, hd});
    };
    k = expand(k);
    v = expand(v);
  }
  std::optional<at::Tensor> mask;
  if (T > 1 && S > T)
    mask = at::ones({T, S}, at::TensorOptions().dtype(at::kBool).device(u.device())).tril(S - T);
  const at::Tensor o = at::scaled_dot_product_attention(q, k, v, mask, 0.0, T > 1 && S == T, std::nullopt, grouped);
  return at::linear(o.transpose(1, 2).reshape({B, T, H * hd}), w.o, maybe(w.o_bias));
}

at::Tensor Teacher::mlp(int layer, const at::Tensor& h) const {
  const LayerWeights& w = weights(layer);
  const at::Tensor x = kernels::rms_norm(h, w.post_norm, config_.rms_norm_eps);
  const at::Tensor gate = at::silu(at::linear(x, w.gate, maybe(w.gate_bias)));
  return at::linear(gate * at::linear(x, w.up, maybe(w.up_bias)), w.down, maybe(w.down_bias));
}

at::Tensor Teacher::final_norm(const at::Tensor& x) const { return kernels::rms_norm(x, norm_, config_.rms_norm_eps); }

at::Tensor Teacher::logits(const at::Tensor& x) const { return at::linear(x, head_); }

}  // namespace flashmorph
