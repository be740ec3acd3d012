// SPDX-License-Identifier: Apache-2.0
#include "core/model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/run/error.h"

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
  const int64_t half = x.size(-1) / 2;
  const at::Tensor rotated = at::cat({-x.slice(-1, half), x.slice(-1, 0, half)}, -1);
  return x * table.cos.unsqueeze(1) + rotated * table.sin.unsqueeze(1);
}

}  // namespace flashmorph
