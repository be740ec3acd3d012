// SPDX-License-Identifier: Apache-2.0
// Parameters of a branch: transfer from the softmax layer, initial values, low-precision copies. The maths is in
// linear_branch_forward.cpp.
#include "core/model/linear_branch.h"

#include <cmath>

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include "core/run/error.h"
#include "kernels/decay_slopes.h"

namespace flashmorph {

namespace {

// Seeded random numbers on the CPU in float32, so that every device starts from the same weights.
class Draw {
 public:
  explicit Draw(uint64_t seed) : generator_(at::detail::createCPUGenerator(seed)) {}
  at::Tensor normal(at::IntArrayRef shape, double deviation) {
    return at::empty(shape, at::kFloat).normal_(0.0, deviation, generator_);
  }
  at::Tensor uniform(at::IntArrayRef shape, double low, double high) {
    return at::empty(shape, at::kFloat).uniform_(low, high, generator_);
  }
  at::Tensor xavier(at::IntArrayRef shape) {
    const double bound = std::exp2(-2.5) * std::sqrt(6.0 / static_cast<double>(shape[0] + shape[1]));
    return uniform(shape, -bound, bound);
  }
  /// dt log-uniform in 1e-3..0.1 with floor 1e-4, as its inverse softplus.
  at::Tensor dt_bias(int64_t count) {
    const at::Tensor dt = uniform({count}, std::log(1e-3), std::log(0.1)).exp().clamp_min(1e-4);
    return dt + (-(-dt).expm1()).log();
  }
  /// log of A ~ U(low, 16); the floor keeps the logarithm finite.
  at::Tensor a_log(int64_t count, double low) { return uniform({count}, low, 16).clamp_min(1e-3).log(); }

 private:
  at::Generator generator_;
};

// Rows of each KV head repeated for the query heads of its group: [G*hd, ...] -> [H*hd, ...] (method 2.6).
at::Tensor expand_heads(const at::Tensor& weight, int64_t heads, int64_t kv_heads, int64_t head_dim) {
  std::vector<int64_t> split{kv_heads, head_dim};
  for (int64_t d = 1; d < weight.dim(); ++d) split.push_back(weight.size(d));
  std::vector<int64_t> shape{heads * head_dim};
  for (int64_t d = 1; d < weight.dim(); ++d) shape.push_back(weight.size(d));
  return weight.view(split).repeat_interleave(heads / kv_heads, 0).reshape(shape);
}

// Bias of a gate on log decay logsigmoid(z)/16 whose half-lives are log-uniform in 8..2048 tokens: -ln(2^(16/tau) - 1).
at::Tensor spread_bias(int64_t count) {
  const at::Tensor step = count > 1 ? at::arange(count, at::kFloat) / static_cast<double>(count - 1) : at::zeros({1}, at::kFloat);
  const at::Tensor tau = (std::log(8.0) + step * (std::log(2048.0) - std::log(8.0))).exp();
  return -(at::pow(at::Scalar(2.0), 16.0 / tau) - 1).log();
}

}  // namespace

LinearBranch::LinearBranch(const Teacher& teacher, int layer, const BranchOptions& options, uint64_t seed)
    : options_(options),
      layer_(layer),
      heads_(teacher.config().heads),
      kv_heads_(teacher.config().kv_heads),
      head_dim_(teacher.config().head_dim),
      hidden_(teacher.config().hidden),
      eps_(teacher.config().rms_norm_eps),
      dtype_(teacher.dtype()) {
  const at::NoGradGuard no_grad;
  const LayerWeights& w = teacher.weights(layer);
  const bool window = options.kind == BranchKind::window;
  const auto transferred = [&](const at::Tensor& x) { return window ? x : expand_heads(x, heads_, kv_heads_, head_dim_); };
  add("q_proj.weight", w.q);
  add("k_proj.weight", transferred(w.k));
  add("v_proj.weight", transferred(w.v));
  if (w.q_bias.defined() && (window || options.kind == BranchKind::plain || options.kind == BranchKind::lightning)) {
    add("q_proj.bias", w.q_bias);
    add("k_proj.bias", transferred(w.k_bias));
    add("v_proj.bias", transferred(w.v_bias));
  }
  add("o_proj.weight", w.o);
  if (w.o_bias.defined() && window) add("o_proj.bias", w.o_bias);
  if (options.qk_norm && (w.q_norm.defined() || !window)) {
    const at::Tensor ones = at::ones({head_dim_}, at::kFloat);
    add("q_norm.weight", w.q_norm.defined() ? w.q_norm : ones);
    add("k_norm.weight", w.k_norm.defined() ? w.k_norm : ones);
  }
  if (options.conv > 0) {
    for (const auto& [name, rows] : {std::pair{"q_conv1d.weight", heads_}, std::pair{"k_conv1d.weight", heads_},
                                     std::pair{"v_conv1d.weight", heads_}}) {
      at::Tensor taps = at::zeros({rows * head_dim_, options.conv}, at::kFloat);
      taps.select(1, options.conv - 1).fill_(1);  // the current token alone: starts as no convolution
      add(name, taps);
    }
  }
  add_kind_parameters(teacher, seed);
}

void LinearBranch::add_kind_parameters(const Teacher& teacher, uint64_t seed) {
  const int64_t H = heads_, hd = head_dim_, D = hidden_, wide = H * hd;
  Draw draw(seed * 1000003 + static_cast<uint64_t>(layer_));
  const auto norm = [](int64_t n) { return at::ones({n}, at::kFloat); };
  const auto swish_gate = [&] { return draw.normal({wide, D}, 1.0 / std::sqrt(static_cast<double>(D))); };
  switch (options_.kind) {
    case BranchKind::plain:
      add("o_norm.weight", norm(hd));
      break;
    case BranchKind::lightning: {
      add("z_proj.weight", at::zeros({wide, D}, at::kFloat));
      add("o_norm.weight", norm(wide));
      std::vector<float> decay;
      const auto slopes = kernels::lightning_slopes(H);
      const double depth = 1.0 - static_cast<double>(layer_) / static_cast<double>(teacher.layers());
      for (int64_t h = 0; h < H; ++h)
        decay.push_back(static_cast<float>(
            options_.layer_scaled ? -(8.0 / static_cast<double>(H)) * depth * static_cast<double>(h) : -slopes[static_cast<size_t>(h)]));
      log_decay_ = at::tensor(at::ArrayRef<float>(decay), at::kFloat).to(teacher.device());
      break;
    }
    case BranchKind::gla:
      add("gk_proj.0.weight", draw.xavier({16, D}));
      add("gk_proj.1.weight", draw.xavier({wide, 16}));
      add("gk_proj.1.bias", options_.spread ? spread_bias(H).repeat_interleave(hd) : at::zeros({wide}, at::kFloat));
      add("g_proj.weight", swish_gate());
      add("o_norm.weight", norm(hd));
      break;
    case BranchKind::simple:
      add("gk_proj.weight", draw.xavier({H, D}));
      add("gk_proj.bias", options_.spread ? spread_bias(H) : at::zeros({H}, at::kFloat));
      add("g_proj.weight", swish_gate());
      add("o_norm.weight", norm(hd));
      break;
    case BranchKind::mamba2:
      add("dt_proj.weight", draw.xavier({H, D}));
      add("dt_bias", draw.dt_bias(H));
      add("A_log", draw.a_log(H, 1));
      if (options_.skip) add("D", at::ones({H}, at::kFloat));
      add("z_proj.weight", swish_gate());
      add("o_norm.weight", norm(wide));
      break;
    case BranchKind::gdn:
      add("a_proj.weight", draw.xavier({H, D}));
      add("b_proj.weight", draw.xavier({H, D}));
      add("A_log", draw.a_log(H, 0));
      add("dt_bias", draw.dt_bias(H));
      add("g_proj.weight", swish_gate());
      add("o_norm.weight", norm(hd));
      break;
    case BranchKind::kda:
      add("f_proj.0.weight", draw.xavier({hd, D}));
      add("f_proj.1.weight", draw.xavier({wide, hd}));
      add("b_proj.weight", draw.xavier({H, D}));
      add("A_log", draw.a_log(H, 1));
      add("dt_bias", draw.dt_bias(wide));
      add("g_proj.0.weight", draw.xavier({hd, D}));
      add("g_proj.1.weight", at::zeros({wide, hd}, at::kFloat));
      add("g_proj.1.bias", at::zeros({wide}, at::kFloat));
      add("o_norm.weight", norm(hd));
      break;
    case BranchKind::window:
      break;
  }
  const at::Device device = teacher.device();
  for (auto& [name, value] : parameters_) value = value.to(device);
}

void LinearBranch::add(const std::string& name, const at::Tensor& value) {
  const at::ScalarType type = dtype_ == at::kDouble ? at::kDouble : at::kFloat;
  parameters_.emplace_back(name, value.to(type, /*non_blocking=*/false, /*copy=*/true).contiguous());
}

LinearBranch LinearBranch::absent(int layer) { return LinearBranch(layer); }

bool LinearBranch::has(const std::string& name) const {
  for (const auto& [one, value] : parameters_)
    if (one == name) return true;
  return false;
}

at::Tensor LinearBranch::parameter(const std::string& name) const { return master(name); }

at::Tensor LinearBranch::master(const std::string& name) const {
  for (const auto& [one, value] : parameters_)
    if (one == name) return value;
  throw Error("load", ErrorCode::internal, fmt::format("{} branch has no parameter {}", to_string(options_.kind), name));
}

at::Tensor LinearBranch::use(const std::string& name) const {
  const at::Tensor value = master(name);
  if (dtype_ == value.scalar_type()) return value;
  if (value.requires_grad() && at::GradMode::is_enabled()) return value.to(dtype_);
  at::Tensor& copy = copies_[name];
  if (!copy.defined()) {
    const at::NoGradGuard no_grad;
    copy = value.detach().to(dtype_);
  }
  return copy;
}

void LinearBranch::load(const std::string& name, const at::Tensor& value) {
  const at::NoGradGuard no_grad;
  at::Tensor target = master(name);
  if (target.sizes() != value.sizes())
    throw Error("load", ErrorCode::bad_file,
                fmt::format("branch tensor layers.{}.{} has another shape than its {} branch wants", layer_, name,
                            to_string(options_.kind)));
  target.copy_(value);
  copies_.clear();
}

void LinearBranch::set_requires_grad(bool on) {
  for (auto& [name, value] : parameters_) value.set_requires_grad(on);
}

void LinearBranch::refresh() { copies_.clear(); }

void LinearBranch::scale_output(double factor) {
  const at::NoGradGuard no_grad;
  master(has("o_norm.weight") ? "o_norm.weight" : "o_proj.weight").mul_(factor);
  copies_.clear();
}

}  // namespace flashmorph
