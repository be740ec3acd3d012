// SPDX-License-Identifier: Apache-2.0
#include "core/train/optim.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

AdamW::AdamW(std::vector<at::Tensor> parameters, AdamWOptions options)
    : parameters_(std::move(parameters)), options_(options) {
  const at::NoGradGuard no_grad;
  for (at::Tensor& one : parameters_) {
    one = one.detach();  // shares the memory; the update is no part of any graph
    first_.push_back(at::zeros_like(one));
    second_.push_back(at::zeros_like(one));
  }
  if (parameters_.empty()) return;
  // All parameters step together, so they share one counter.
  const at::Tensor counter = at::zeros({}, parameters_[0].options().dtype(at::kFloat));
  counters_.assign(parameters_.size(), counter);
}

void AdamW::step(const std::vector<at::Tensor>& gradients, double lr) {
  if (gradients.size() != parameters_.size())
    throw Error(
        "train", ErrorCode::internal,
        fmt::format("{} gradients for {} parameters", gradients.size(), parameters_.size()));
  ++steps_;
  if (parameters_.empty()) return;
  const at::NoGradGuard no_grad;
  counters_[0].fill_(static_cast<double>(steps_));
  // The fused step walks through memory: a gradient that lies otherwise than its parameter (a
  // transposed view, say) would meet the wrong weights on the CPU and be refused on a GPU.
  std::vector<at::Tensor> laid;
  laid.reserve(gradients.size());
  for (size_t i = 0; i < gradients.size(); ++i) {
    const at::Tensor& one = parameters_[i];
    if (gradients[i].sizes() != one.sizes())
      throw Error("train", ErrorCode::internal,
                  fmt::format("gradient {} has not the shape of its parameter", i));
    const bool same = gradients[i].strides() == one.strides() &&
                      gradients[i].scalar_type() == one.scalar_type();
    laid.push_back(same ? gradients[i] : at::empty_like(one).copy_(gradients[i]));
  }
  at::_fused_adamw_(parameters_, laid, first_, second_, {}, counters_, lr, options_.beta1,
                    options_.beta2, options_.weight_decay, options_.eps, /*amsgrad=*/false,
                    /*maximize=*/false);
}

void AdamW::restore(const std::vector<at::Tensor>& first, const std::vector<at::Tensor>& second,
                    int64_t steps) {
  const at::NoGradGuard no_grad;
  const auto take = [&](std::vector<at::Tensor>& to, const std::vector<at::Tensor>& from) {
    if (from.size() != to.size())
      throw Error("train", ErrorCode::bad_file,
                  fmt::format("the checkpoint has {} optimizer moments, the model needs {}",
                              from.size(), to.size()));
    for (size_t i = 0; i < to.size(); ++i) {
      if (to[i].sizes() != from[i].sizes())
        throw Error("train", ErrorCode::bad_file,
                    fmt::format("optimizer moment {} of the checkpoint has another shape", i));
      to[i].copy_(from[i]);
    }
  };
  take(first_, first);
  take(second_, second);
  steps_ = steps;
}

at::Tensor gradient_norms(const std::vector<at::Tensor>& gradients) {
  const at::NoGradGuard no_grad;
  return at::stack(at::_foreach_norm(gradients, 2)).to(at::kFloat);
}

void scale_gradients(const std::vector<at::Tensor>& gradients, double norm, double limit) {
  if (limit <= 0 || norm <= limit) return;
  const at::NoGradGuard no_grad;
  at::_foreach_mul_(gradients, at::Scalar(limit / (norm + 1e-6)));
}

double cosine_rate(int64_t step, int64_t steps, int64_t warmup, double lr, double lr_final) {
  if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double share = static_cast<double>(step - warmup) /
                       static_cast<double>(std::max<int64_t>(steps - warmup, 1));
  return lr_final +
         (lr - lr_final) * 0.5 * (1.0 + std::cos(std::numbers::pi * std::min(share, 1.0)));
}

double trapezoid_rate(int64_t step, int64_t steps, double lr, double lr_final) {
  const double fifth = static_cast<double>(steps) / 5.0, floor = lr > 0 ? lr_final / lr : 0.0;
  const double rise = std::max(static_cast<double>(step + 1) / fifth, floor);
  const double fall = std::max(static_cast<double>(steps - step) / fifth, floor);
  return lr * std::min({1.0, rise, fall});
}

}  // namespace flashmorph
