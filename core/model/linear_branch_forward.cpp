// SPDX-License-Identifier: Apache-2.0
// The maths of a branch: projections, decays, recurrence, output norm and gate (table of method 2.2).
#include <fmt/format.h>

#include "core/model/linear_branch.h"
#include "core/run/error.h"
#include "kernels/channel_decay.h"
#include "kernels/gated_delta_rule.h"
#include "kernels/l2_normalize.h"
#include "kernels/rms_norm.h"
#include "kernels/scalar_decay.h"
#include "kernels/short_conv.h"
#include "kernels/window_attention.h"

namespace flashmorph {

namespace {

std::optional<at::Tensor> maybe(const at::Tensor& tensor) {
  return tensor.defined() ? std::optional<at::Tensor>(tensor) : std::nullopt;
}

// a, b: log decay = -exp(A_log) softplus(x + dt_bias), in the type of A_log. x: [B, T, ...]; A_log and dt_bias broadcast against it.
at::Tensor softplus_decay(const at::Tensor& x, const at::Tensor& a_log, const at::Tensor& dt_bias) {
  return -a_log.exp() * at::softplus(x.to(a_log.scalar_type()) + dt_bias);
}

}  // namespace

at::Tensor LinearBranch::project(const std::string& name, const at::Tensor& u) const {
  const std::string bias = name + ".bias";
  return at::linear(u, use(name + ".weight"), has(bias) ? std::optional<at::Tensor>(use(bias)) : std::nullopt);
}

at::Tensor LinearBranch::heads_of(const at::Tensor& x, int64_t count) const {
  return x.view({x.size(0), x.size(1), count, head_dim_});
}

at::Tensor LinearBranch::forward(const at::Tensor& u, const RopeTable& rope, LayerCache* cache) const {
  if (parameters_.empty())
    throw Error("eval", ErrorCode::plan_impossible, fmt::format("layer {} has no linear branch in these weights", layer_),
                "use the layer plan the weights were trained for");
  const bool window = options_.kind == BranchKind::window;
  at::Tensor q = project("q_proj", u), k = project("k_proj", u), v = project("v_proj", u);
  if (options_.conv > 0 && !window) {
    const auto convolve = [&](at::Tensor& x, const char* weight, at::Tensor LayerCache::* slot) {
      kernels::ShortConv out =
          kernels::short_conv(x, use(weight), std::nullopt, options_.silu, cache ? maybe(cache->*slot) : std::nullopt);
      x = out.output;
      if (cache) cache->*slot = out.state;
    };
    convolve(q, "q_conv1d.weight", &LayerCache::conv_q);
    convolve(k, "k_conv1d.weight", &LayerCache::conv_k);
    convolve(v, "v_conv1d.weight", &LayerCache::conv_v);
  } else if (options_.silu) {
    q = at::silu(q);
    k = at::silu(k);
    v = at::silu(v);
  }
  q = heads_of(q, heads_);
  k = heads_of(k, window ? kv_heads_ : heads_);
  v = heads_of(v, window ? kv_heads_ : heads_);
  if (has("q_norm.weight")) {
    q = kernels::rms_norm(q, use("q_norm.weight"), eps_);
    k = kernels::rms_norm(k, use("k_norm.weight"), eps_);
  }
  if (options_.rope) {
    q = Rope::apply(q, rope);
    k = Rope::apply(k, rope);
  }
  const at::Tensor o = mix(u, q, k, v, cache);
  return project("o_proj", gated(o, u));
}

at::Tensor LinearBranch::mix(const at::Tensor& u, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             LayerCache* cache) const {
  const double scale = 1.0 / std::sqrt(static_cast<double>(head_dim_));
  const std::optional<at::Tensor> state = cache ? maybe(cache->state) : std::nullopt;
  const auto keep = [&](kernels::Recurrence out) {
    if (cache) cache->state = out.state;
    return out.output;
  };
  switch (options_.kind) {
    case BranchKind::plain:
      return keep(kernels::scalar_decay(q, k, v, std::nullopt, std::nullopt, scale, state));
    case BranchKind::lightning:
      return keep(kernels::scalar_decay(q, k, v, log_decay_, std::nullopt, scale, state));
    case BranchKind::gla: {
      const at::Tensor z = at::linear(project("gk_proj.0", u), use("gk_proj.1.weight"), use("gk_proj.1.bias"));
      return keep(kernels::channel_decay(q, k, v, heads_of(at::log_sigmoid(wide(z)) / 16, heads_), std::nullopt,
                                         scale, state));
    }
    case BranchKind::simple:
      return keep(kernels::scalar_decay(q, k, v, at::log_sigmoid(wide(project("gk_proj", u))) / 16, std::nullopt,
                                        scale, state));
    case BranchKind::mamba2: {
      const at::Tensor dt = at::softplus(wide(project("dt_proj", u)) + master("dt_bias"));
      const at::Tensor o = keep(kernels::scalar_decay(q, k, v, -master("A_log").exp() * dt, dt, 1.0, state));
      return options_.skip ? o + use("D").unsqueeze(-1) * v : o;
    }
    case BranchKind::gdn: {
      const at::Tensor decay = softplus_decay(project("a_proj", u), master("A_log"), master("dt_bias"));
      const at::Tensor beta = at::sigmoid(wide(project("b_proj", u))) * (options_.double_beta ? 2.0 : 1.0);
      return keep(kernels::gated_delta_rule(kernels::l2_normalize(q), kernels::l2_normalize(k), v, decay, beta, scale, state));
    }
    case BranchKind::kda: {
      const at::Tensor f = heads_of(project("f_proj.1", project("f_proj.0", u)), heads_);
      const at::Tensor decay =
          softplus_decay(f, master("A_log").unsqueeze(-1), master("dt_bias").view({heads_, head_dim_}));
      const at::Tensor beta = at::sigmoid(wide(project("b_proj", u)));
      return keep(kernels::gated_delta_rule(kernels::l2_normalize(q), kernels::l2_normalize(k), v, decay, beta, scale, state));
    }
    case BranchKind::window:
      break;
  }
  at::Tensor keys = k, values = v;
  if (cache) {
    if (cache->keys.defined()) {
      keys = at::cat({cache->keys, k}, 1);
      values = at::cat({cache->values, v}, 1);
    }
    cache->keys = keys;
    cache->values = values;
  }
  return kernels::window_attention(q, keys, values, options_.sink, options_.window, scale);
}

at::Tensor LinearBranch::gated(const at::Tensor& o, const at::Tensor& u) const {
  const auto flat = [](const at::Tensor& x) { return x.reshape({x.size(0), x.size(1), -1}); };
  switch (options_.kind) {
    case BranchKind::plain:
      return flat(kernels::rms_norm(o, use("o_norm.weight"), eps_));
    case BranchKind::lightning:
      return kernels::rms_norm(flat(o), use("o_norm.weight"), eps_) * at::sigmoid(project("z_proj", u));
    case BranchKind::gla:
    case BranchKind::simple:
    case BranchKind::gdn:
      return flat(kernels::rms_norm(o, use("o_norm.weight"), eps_)) * at::silu(project("g_proj", u));
    case BranchKind::mamba2:
      return kernels::rms_norm(flat(o) * at::silu(project("z_proj", u)), use("o_norm.weight"), eps_);
    case BranchKind::kda: {
      const at::Tensor gate = at::linear(project("g_proj.0", u), use("g_proj.1.weight"), use("g_proj.1.bias"));
      return flat(kernels::rms_norm(o, use("o_norm.weight"), eps_)) * at::sigmoid(gate);
    }
    case BranchKind::window:
      break;
  }
  return flat(o);
}

}  // namespace flashmorph
