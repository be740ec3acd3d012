// SPDX-License-Identifier: Apache-2.0
#include "core/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <torch/csrc/autograd/custom_function.h>

#include "core/run/error.h"
#include "kernels/parallel.h"

namespace flashmorph {

namespace {

at::Tensor float_vector(const std::vector<float>& values) {
  return at::tensor(at::ArrayRef<float>(values), at::kFloat);
}

// base^(2i/dim) for i < dim/2, in float32 as transformers computes it.
at::Tensor position_frequencies(double base, int64_t dim) {
  return at::pow(at::Scalar(base), at::arange(0, dim, 2, at::kFloat) / static_cast<double>(dim));
}

at::Tensor llama3(const RopeConfig& rope, const at::Tensor& plain) {
  const double low_wavelength = static_cast<double>(rope.original_max_position) / rope.low_freq_factor;
  const double high_wavelength = static_cast<double>(rope.original_max_position) / rope.high_freq_factor;
  const at::Tensor wavelength = 2 * std::numbers::pi / plain;
  const at::Tensor slowed = at::where(wavelength > low_wavelength, plain / rope.factor, plain);
  const at::Tensor smooth = (static_cast<double>(rope.original_max_position) / wavelength - rope.low_freq_factor) /
                            (rope.high_freq_factor - rope.low_freq_factor);
  const at::Tensor smoothed = (1 - smooth) * slowed / rope.factor + smooth * slowed;
  const at::Tensor medium = at::logical_and(wavelength >= high_wavelength, wavelength <= low_wavelength);
  return at::where(medium, smoothed, slowed);
}

double yarn_scale(double factor, double mscale) {
  return factor <= 1 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

at::Tensor yarn(const RopeConfig& rope, int64_t dim) {
  const double original = static_cast<double>(rope.original_max_position);
  const auto dimension_of = [&](double rotations) {
    return static_cast<double>(dim) * std::log(original / (rotations * 2 * std::numbers::pi)) / (2 * std::log(rope.theta));
  };
  double low = dimension_of(rope.beta_fast), high = dimension_of(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;
  const at::Tensor frequencies = position_frequencies(rope.theta, dim);
  const at::Tensor keep = 1 - ((at::arange(dim / 2, at::kFloat) - low) / (high - low)).clamp(0, 1);
  return 1.0 / (rope.factor * frequencies) * (1 - keep) + 1.0 / frequencies * keep;
}

// One pass over a CPU tensor. Low precisions round after each product and after the sum, as the plain form does.
template <typename Value>
void rotate_rows(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, float sign, at::Tensor& y) {
  const int64_t T = x.size(1), H = x.size(2), width = x.size(3), half = width / 2;
  const Value *in = x.const_data_ptr<Value>(), *c = cos.const_data_ptr<Value>(), *s = sin.const_data_ptr<Value>();
  Value* out = y.mutable_data_ptr<Value>();
  const auto product = [](Value a, Value b) { return static_cast<float>(static_cast<Value>(static_cast<float>(a) * static_cast<float>(b))); };
  kernels::parallel_ranges(x.size(0) * T, std::max<int64_t>(1, 16384 / (H * width)), [=](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const Value *ct = c + row % T * width, *st = s + row % T * width;
      for (int64_t h = 0; h < H; ++h) {
        const Value* from = in + (row * H + h) * width;
        Value* to = out + (row * H + h) * width;
        for (int64_t i = 0; i < half; ++i) {
          to[i] = static_cast<Value>(product(from[i], ct[i]) - sign * product(from[i + half], st[i]));
          to[i + half] = static_cast<Value>(product(from[i + half], ct[i + half]) + sign * product(from[i], st[i + half]));
        }
      }
    }
  });
}

// x cos + sign rotate_half(x) sin. Both halves of a table are equal, so sign = -1 is the transpose: the gradient.
at::Tensor rotate(const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin, double sign) {
  at::Tensor y = at::empty(x.sizes(), x.options());
  const bool low = x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kHalf;
  if (x.is_cpu() && (low || x.scalar_type() == at::kFloat)) {
    const at::Tensor rows = x.contiguous(), c = cos.contiguous(), s = sin.contiguous();
    const auto f = static_cast<float>(sign);
    if (x.scalar_type() == at::kFloat) rotate_rows<float>(rows, c, s, f, y);
    if (x.scalar_type() == at::kBFloat16) rotate_rows<at::BFloat16>(rows, c, s, f, y);
    if (x.scalar_type() == at::kHalf) rotate_rows<at::Half>(rows, c, s, f, y);
    return y;
  }
  const int64_t half = x.size(-1) / 2;
  const at::Tensor low_half = x.slice(-1, 0, half), high_half = x.slice(-1, half);
  const auto part = [&](const at::Tensor& table, int64_t first) { return table.slice(-1, first, first + half).unsqueeze(1); };
  at::Tensor to_low = y.slice(-1, 0, half), to_high = y.slice(-1, half);
  at::mul_out(to_low, low_half, part(cos, 0)).addcmul_(high_half, part(sin, 0), -sign);
  at::mul_out(to_high, high_half, part(cos, half)).addcmul_(low_half, part(sin, half), sign);
  return y;
}

struct Rotation : torch::autograd::Function<Rotation> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cos, const at::Tensor& sin) {
    ctx->save_for_backward({cos, sin});
    return rotate(x, cos, sin, 1.0);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx, torch::autograd::variable_list gradients) {
    const auto saved = ctx->get_saved_variables();
    return {rotate(gradients[0], saved[0], saved[1], -1.0), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

Rope::Rope(const ModelConfig& config, at::Device device)
    : config_(config.rope), head_dim_(config.head_dim), max_position_(config.max_position), device_(device) {
  if (config_.partial_rotary_factor != 1.0)
    throw Error("load", ErrorCode::unsupported_model, "partial_rotary_factor other than 1 is not supported",
                "use a model that rotates the whole head");
  if (config_.type == "yarn") {
    if (config_.attention_factor > 0)
      attention_scaling_ = config_.attention_factor;
    else if (config_.mscale > 0 && config_.mscale_all_dim > 0)
      attention_scaling_ = yarn_scale(config_.factor, config_.mscale) / yarn_scale(config_.factor, config_.mscale_all_dim);
    else
      attention_scaling_ = yarn_scale(config_.factor, 1);
  }
  if (config_.type != "dynamic") fixed_ = inverse_frequencies(0).to(device);
}

at::Tensor Rope::inverse_frequencies(int64_t total) const {
  const int64_t dim = head_dim_;
  if (config_.type == "yarn") return yarn(config_, dim);
  double base = config_.theta;
  if (config_.type == "dynamic") {
    const auto longest = static_cast<double>(max_position_);
    const double length = std::max(static_cast<double>(total), longest);
    base *= std::pow(config_.factor * length / longest - (config_.factor - 1),
                     static_cast<double>(dim) / static_cast<double>(dim - 2));
  }
  at::Tensor plain = 1.0 / position_frequencies(base, dim);
  if (config_.type == "linear") plain = plain / config_.factor;
  if (config_.type == "llama3") plain = llama3(config_, plain);
  if (!config_.freq_factors.empty()) plain = plain / float_vector(config_.freq_factors);
  return plain;
}

RopeTable Rope::table(int64_t first, int64_t T, int64_t total, at::ScalarType dtype) const {
  const at::Tensor inverse = fixed_.defined() ? fixed_ : inverse_frequencies(total).to(device_);
  const at::Tensor positions = at::arange(first, first + T, at::TensorOptions().dtype(at::kFloat).device(device_));
  const at::Tensor half = positions.unsqueeze(1) * inverse.unsqueeze(0);
  const at::Tensor angles = at::cat({half, half}, -1);
  return {(angles.cos() * attention_scaling_).to(dtype), (angles.sin() * attention_scaling_).to(dtype)};
}

at::Tensor Rope::apply(const at::Tensor& x, const RopeTable& table) {
  if (x.requires_grad() && at::GradMode::is_enabled()) return Rotation::apply(x, table.cos, table.sin);
  return rotate(x, table.cos, table.sin, 1.0);
}

}  // namespace flashmorph
