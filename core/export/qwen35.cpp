// SPDX-License-Identifier: Apache-2.0
#include "core/export/qwen35.h"

#include <cmath>

#include <fmt/format.h>

#include "core/export/config_json.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr int kDefaultConv = 4;

[[noreturn]] void refuse(const std::string& what) {
  throw Error("export", ErrorCode::export_refused,
              "the class Qwen3_5ForCausalLM cannot express this hybrid: " + what,
              "flashmorph export --check lists every target and its reasons");
}

void check(const HybridWeights& weights) {
  if (weights.config.family != "qwen3")
    refuse("its teacher is of family " + weights.config.family + ", not qwen3");
  if (!weights.config.rope.freq_factors.empty()) refuse("its rope has a list of frequency factors");
  const BranchOptions* first = weights.branch();
  for (int l = 0; l < weights.plan.layers; ++l) {
    if (weights.plan.is_full(l)) continue;
    const BranchOptions& b = weights.branches.at(static_cast<size_t>(l));
    if (b.kind != BranchKind::gdn)
      refuse(fmt::format("the branch of layer {} is {}, not gdn", l, to_string(b.kind)));
    if (!b.silu || b.rope || b.qk_norm || b.double_beta)
      refuse(fmt::format(
          "the gdn branch of layer {} needs SiLU, no RoPE, no q/k norm and beta in (0, 1)", l));
    if (b.conv != first->conv) refuse("its branches have convolutions of different width");
  }
}

at::Tensor wide(const at::Tensor& x) { return x.detach().to(at::kCPU).to(at::kFloat); }

// Signed powers of two p with w p in [1, 2); 1 where w is 0.
at::Tensor powers(const at::Tensor& w) {
  const at::Tensor p = at::ones_like(w);
  const float* from = w.const_data_ptr<float>();
  float* to = p.mutable_data_ptr<float>();
  for (int64_t i = 0; i < w.numel(); ++i) {
    if (from[i] == 0 || !std::isfinite(from[i])) continue;
    int exponent = 0;
    std::frexp(from[i], &exponent);  // |w| in [2^(e-1), 2^e)
    to[i] = std::copysign(std::ldexp(1.0F, 1 - exponent), from[i]);
  }
  return p;
}

// Largest |error| / |w| of a norm once w - 1 is cast to bfloat16.
double cast_error(const at::Tensor& w) {
  const at::Tensor back = (w - 1).to(at::kBFloat16).to(at::kFloat) + 1;
  return ((back - w).abs() / w.abs().clamp_min(1e-30)).max().item<double>();
}

std::string layer_name(int layer, const char* name) {
  return fmt::format("model.layers.{}.{}", layer, name);
}

// Rows of every head followed by as many zero rows: the gate half of q_proj.
at::Tensor with_gate_rows(const at::Tensor& q, int64_t heads, int64_t head_dim) {
  std::vector<int64_t> shape{heads, head_dim}, flat{2 * heads * head_dim};
  for (int64_t d = 1; d < q.dim(); ++d) {
    shape.push_back(q.size(d));
    flat.push_back(q.size(d));
  }
  const at::Tensor rows = q.reshape(shape);
  return at::cat({rows, at::zeros_like(rows)}, 1).reshape(flat);
}

at::Tensor without_gate_rows(const at::Tensor& q, int64_t heads, int64_t head_dim,
                             const std::string& name) {
  std::vector<int64_t> shape{heads, 2 * head_dim}, flat{heads * head_dim};
  for (int64_t d = 1; d < q.dim(); ++d) {
    shape.push_back(q.size(d));
    flat.push_back(q.size(d));
  }
  const at::Tensor rows = q.reshape(shape);
  if (rows.slice(1, head_dim).count_nonzero().item<int64_t>() != 0)
    throw Error("export", ErrorCode::bad_file,
                fmt::format("tensor {} has gate rows that are not zero", name));
  return rows.slice(1, 0, head_dim).reshape(flat);
}

// Describes a TargetModel tensor by tensor; only norms and decay rates are read now.
class Writer {
 public:
  Writer(const HybridWeights& weights, TargetModel& out, bool rescale)
      : weights_(weights), out_(out), rescale_(rescale) {}

  at::Tensor read(const std::string& name) const { return wide(weights_.at(name)); }
  void add(const std::string& name, LazyTensor value, bool keep = false) {
    out_.tensors.push_back({name, std::move(value), keep});
  }
  /// `from` of the hybrid, changed by fn once it is written; fn keeps its shape.
  template <typename F>
  void add_changed(const std::string& name, const std::string& from, F fn) {
    const LazyTensor& source = weights_.lazy(from);
    add(name, {source.shape(), [source, fn] { return fn(wide(source.get())); }});
  }
  void add_divided(const std::string& name, const std::string& from, const at::Tensor& p) {
    add_changed(name, from, [p](const at::Tensor& x) { return x / p; });
  }
  void add_same(const std::string& name, const std::string& from) {
    add_changed(name, from, [](const at::Tensor& x) { return x; });
  }
  /// Stores a norm rescaled; returns its powers of two.
  at::Tensor rescaled_norm(const std::string& name) {
    const at::Tensor w = read(name), p = rescale_ ? powers(w) : at::ones_like(w);
    add(name, w * p - 1);
    out_.norm_rescaled = rescale_;
    return p;
  }
  /// A norm that no matrix follows directly: float32.
  void plain_norm(const std::string& from, const std::string& to) {
    const at::Tensor w = read(from);
    out_.norm_max_rel_error = std::max(out_.norm_max_rel_error, cast_error(w));
    add(to, w - 1, true);
  }
  void full_layer(int l, const at::Tensor& p) {
    const ModelConfig& c = weights_.config;
    const auto name = [&](const char* inner) { return layer_name(l, "self_attn.") + inner; };
    const auto add_gated = [&](const std::string& q, const at::Tensor& by) {
      const LazyTensor& source = weights_.lazy(q);
      std::vector<int64_t> shape = source.shape();
      shape.at(0) *= 2;
      add(q, {shape, [source, by, H = c.heads, d = c.head_dim] {
                const at::Tensor value = wide(source.get());
                return with_gate_rows(by.defined() ? value / by : value, H, d);
              }});
    };
    add_gated(name("q_proj.weight"), p);
    add_divided(name("k_proj.weight"), name("k_proj.weight"), p);
    add_divided(name("v_proj.weight"), name("v_proj.weight"), p);
    add_changed(name("o_proj.weight"), name("o_proj.weight"),
                [](const at::Tensor& x) { return x * 2; });
    if (c.qkv_bias) {
      add_gated(name("q_proj.bias"), {});
      add_same(name("k_proj.bias"), name("k_proj.bias"));
      add_same(name("v_proj.bias"), name("v_proj.bias"));
    }
    if (c.o_bias) add_same(name("o_proj.bias"), name("o_proj.bias"));
    plain_norm(name("q_norm.weight"), name("q_norm.weight"));
    plain_norm(name("k_norm.weight"), name("k_norm.weight"));
  }
  void linear_layer(int l, const at::Tensor& p) {
    const auto name = [&](const char* inner) { return layer_name(l, "linear_attn.") + inner; };
    // q, k and v under each other.
    const auto three = [&](const char* kind) {
      const std::vector<LazyTensor> parts{weights_.lazy(name("q") + kind),
                                          weights_.lazy(name("k") + kind),
                                          weights_.lazy(name("v") + kind)};
      std::vector<int64_t> shape = parts[0].shape();
      shape.at(0) = parts[0].shape()[0] + parts[1].shape().at(0) + parts[2].shape().at(0);
      return LazyTensor(shape, [parts] {
        return at::cat({wide(parts[0].get()), wide(parts[1].get()), wide(parts[2].get())}, 0);
      });
    };
    const LazyTensor qkv = three("_proj.weight");
    add(name("in_proj_qkv.weight"), {qkv.shape(), [qkv, p] { return qkv.get() / p; }});
    add_divided(name("in_proj_z.weight"), name("g_proj.weight"), p);
    add_divided(name("in_proj_b.weight"), name("b_proj.weight"), p);
    add_divided(name("in_proj_a.weight"), name("a_proj.weight"), p);
    at::Tensor taps;
    if (weights_.branches[static_cast<size_t>(l)].conv > 0) {
      taps = three("_conv1d.weight").get();
    } else {  // the current token alone: SiLU and no convolution
      taps = at::zeros({qkv.shape()[0], kDefaultConv}, at::kFloat);
      taps.select(1, kDefaultConv - 1).fill_(1);
    }
    add(name("conv1d.weight"), taps.unsqueeze(1));
    const at::Tensor a_log = read(name("A_log"));
    const at::Tensor moved = (a_log.to(at::kBFloat16).to(at::kFloat) - a_log).expm1().abs();
    out_.decay_max_rel_error = std::max(out_.decay_max_rel_error, moved.max().item<double>());
    add(name("A_log"), a_log, true);
    add(name("dt_bias"), read(name("dt_bias")), true);
    add_same(name("norm.weight"), name("o_norm.weight"));
    add_same(name("out_proj.weight"), name("o_proj.weight"));
  }

 private:
  const HybridWeights& weights_;
  TargetModel& out_;
  bool rescale_;
};

}  // namespace

int full_interval(const LayerPlan& plan) {
  if (plan.full.empty() || plan.layers % plan.budget() != 0) return 0;
  const int n = plan.layers / plan.budget();
  for (int l = 0; l < plan.layers; ++l)
    if (plan.is_full(l) != ((l + 1) % n == 0)) return 0;
  return n;
}

TargetModel qwen35_model(const HybridWeights& weights, ExportDtype dtype, bool rescale) {
  check(weights);
  const ModelConfig& c = weights.config;
  TargetModel out;
  nlohmann::json& json = out.config;
  json = common_config(c, dtype);
  json["architectures"] = {"Qwen3_5ForCausalLM"};
  json["model_type"] = "qwen3_5_text";
  json["attention_bias"] = c.qkv_bias;
  json["attention_dropout"] = 0.0;
  json["layer_types"] = layer_types(weights.plan);
  json["partial_rotary_factor"] = 1.0;
  json["rope_parameters"]["partial_rotary_factor"] = 1.0;
  if (json.contains("rope_scaling")) json["rope_scaling"]["partial_rotary_factor"] = 1.0;
  const BranchOptions* branch = weights.branch();
  const int conv = branch && branch->conv > 0 ? branch->conv : kDefaultConv;
  json["linear_num_key_heads"] = json["linear_num_value_heads"] = c.heads;
  json["linear_key_head_dim"] = json["linear_value_head_dim"] = c.head_dim;
  json["linear_conv_kernel_dim"] = conv;
  // Only a periodic plan may name an interval: others misread it (formats 6).
  if (const int n = full_interval(weights.plan); n > 0) json["full_attention_interval"] = n;

  Writer write(weights, out, rescale);
  write.add_same("model.embed_tokens.weight", "model.embed_tokens.weight");
  for (int l = 0; l < weights.plan.layers; ++l) {
    const at::Tensor before_mixer = write.rescaled_norm(layer_name(l, "input_layernorm.weight"));
    weights.plan.is_full(l) ? write.full_layer(l, before_mixer)
                            : write.linear_layer(l, before_mixer);
    const at::Tensor before_mlp =
        write.rescaled_norm(layer_name(l, "post_attention_layernorm.weight"));
    const std::string gate = layer_name(l, "mlp.gate_proj.weight"),
                      up = layer_name(l, "mlp.up_proj.weight"),
                      down = layer_name(l, "mlp.down_proj.weight");
    write.add_divided(gate, gate, before_mlp);
    write.add_divided(up, up, before_mlp);
    write.add_same(down, down);
  }
  if (c.tied) {
    write.plain_norm("model.norm.weight", "model.norm.weight");
  } else {
    const at::Tensor p = write.rescaled_norm("model.norm.weight");
    write.add_divided("lm_head.weight", "lm_head.weight", p);
  }
  return out;
}

HybridWeights qwen35_weights(const nlohmann::json& json, const LazyTensors& tensors,
                             const std::string& where) {
  if (json.value("model_type", std::string()) != "qwen3_5_text" ||
      json.value("partial_rotary_factor", 0.0) != 1.0)
    throw Error("export", ErrorCode::bad_file,
                fmt::format("{}: not a qwen3_5_text that rotates whole heads", where));
  HybridWeights weights;
  weights.config = config_from_json(json, "qwen3", where);
  const ModelConfig& c = weights.config;
  weights.plan = plan_from_json(json, where);
  BranchOptions form = BranchOptions::of(BranchKind::gdn);
  form.conv = json.at("linear_conv_kernel_dim").get<int>();
  weights.branches.assign(static_cast<size_t>(weights.plan.layers), form);
  const int64_t rows = c.heads * c.head_dim;
  for (const auto& [name, value] : tensors) {
    const auto changed = [source = value](auto fn) {
      return LazyTensor(source.shape(), [source, fn] { return fn(wide(source.get())); });
    };
    const auto same = [&] { return changed([](const at::Tensor& x) { return x; }); };
    const size_t dot = name.rfind('.', name.rfind('.') - 1);
    const std::string stem = name.substr(0, dot + 1), last = name.substr(dot + 1);
    const bool in_full = name.find(".self_attn.") != std::string::npos,
               in_linear = name.find(".linear_attn.") != std::string::npos;
    if (in_full && last.starts_with("q_proj.")) {
      std::vector<int64_t> shape = value.shape();
      shape.at(0) = rows;
      weights.tensors[name] = {shape, [source = value, H = c.heads, d = c.head_dim, name = name] {
                                 return without_gate_rows(wide(source.get()), H, d, name);
                               }};
    } else if (in_full && last == "o_proj.weight") {
      weights.tensors[name] = changed([](const at::Tensor& x) { return x / 2; });
    } else if (in_linear) {
      const size_t at = name.find(".linear_attn.") + 13;
      const std::string front = name.substr(0, at), inner = name.substr(at);
      static const std::map<std::string, std::string> kOne{{"in_proj_z.weight", "g_proj.weight"},
                                                           {"in_proj_b.weight", "b_proj.weight"},
                                                           {"in_proj_a.weight", "a_proj.weight"},
                                                           {"A_log", "A_log"},
                                                           {"dt_bias", "dt_bias"},
                                                           {"norm.weight", "o_norm.weight"},
                                                           {"out_proj.weight", "o_proj.weight"}};
      if (inner == "in_proj_qkv.weight" || inner == "conv1d.weight") {
        const bool conv = inner == "conv1d.weight";
        std::vector<int64_t> shape{rows, value.shape().back()};
        for (int64_t i = 0; i < 3; ++i)
          weights.tensors[front + "qkv"[i] + (conv ? "_conv1d.weight" : "_proj.weight")] = {
              shape, [source = value, conv, i, rows] {
                const at::Tensor all = source.get();
                return wide((conv ? all.squeeze(1) : all).slice(0, i * rows, (i + 1) * rows))
                    .contiguous();
              }};
      } else if (const auto found = kOne.find(inner); found != kOne.end()) {
        weights.tensors[front + found->second] = same();
      } else {
        throw Error("export", ErrorCode::bad_file,
                    fmt::format("{}: tensor {} is not of this class", where, name));
      }
    } else if (name.ends_with("norm.weight")) {
      weights.tensors[name] = changed([](const at::Tensor& x) { return x + 1; });
    } else {
      weights.tensors[name] = same();
    }
  }
  return weights;
}

}  // namespace flashmorph
