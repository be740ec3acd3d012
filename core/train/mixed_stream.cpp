// SPDX-License-Identifier: Apache-2.0
#include "core/train/mixed_stream.h"

#include <torch/csrc/autograd/custom_function.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

// <x, y> over all elements, accumulated in float32.
at::Tensor inner_product(const at::Tensor& x, const at::Tensor& y) {
  if (x.scalar_type() == at::kFloat) return at::dot(x.reshape(-1), y.reshape(-1));
  return at::mul(x, y).sum(at::kFloat);
}

struct GateMix : torch::autograd::Function<GateMix> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& full,
                            const at::Tensor& linear, const at::Tensor& alpha, double value) {
    ctx->saved_data["value"] = value;
    if (alpha.requires_grad())
      ctx->save_for_backward({full - linear});  // all that the gradient of alpha needs
    if (value == 1.0) return full.alias();
    if (value == 0.0) return linear.alias();
    return at::lerp(linear, full, value);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list gradients) {
    const at::Tensor& g = gradients[0];
    const double value = ctx->saved_data["value"].toDouble();
    at::Tensor full, linear, alpha;
    if (ctx->needs_input_grad(2)) alpha = inner_product(g, ctx->get_saved_variables()[0]);
    if (ctx->needs_input_grad(0) && value != 0.0) full = value == 1.0 ? g : g * value;
    if (ctx->needs_input_grad(1) && value != 1.0) linear = value == 0.0 ? g : g * (1.0 - value);
    return {full, linear, alpha, at::Tensor()};
  }
};

}  // namespace

at::Tensor gate_mix(const at::Tensor& full, const at::Tensor& linear, const at::Tensor& alpha,
                    double value) {
  return GateMix::apply(full, linear, alpha, value);
}

MixedStream::MixedStream(const MorphModel& model, MixedStreamOptions options, const at::Tensor& ids,
                         const at::Tensor& alpha, const StopFlag* stop)
    : model_(model),
      options_(options),
      stop_(stop),
      rope_(model.teacher().rope_table(0, ids.size(1))) {
  options_.teacher = options.teacher || options.teacher_full || options.teacher_branch;
  gradient_ = alpha.requires_grad() && at::GradMode::is_enabled();
  const at::Tensor host = alpha.detach().to(at::kCPU).to(at::kDouble).contiguous();
  values_.assign(host.const_data_ptr<double>(), host.const_data_ptr<double>() + host.numel());
  alpha_ = alpha.to(model.teacher().device()).unbind(0);
  mixed_ = model.teacher().embed(ids);
  if (options_.teacher) teacher_ = mixed_;
}

void MixedStream::check_stop() const {
  if (stop_ && stop_->is_set()) throw Error("gates", ErrorCode::stopped, "stopped on request");
}

void MixedStream::mixer(int l) {
  check_stop();
  const Teacher& teacher = model_.teacher();
  const double value = values_[static_cast<size_t>(l)];
  at::Tensor teacher_input;
  if (options_.teacher) {
    const at::NoGradGuard no_grad;
    teacher_input = teacher.input_norm(l, teacher_);
    teacher_mixer_ = teacher.attention(l, teacher_input, rope_);
  }
  const bool shared = options_.teacher && same_;
  const bool want_full = gradient_ || value != 0.0, want_linear = gradient_ || value != 1.0;
  const bool take_full = want_full && (options_.teacher_full || shared);
  at::Tensor input;
  if (shared)
    input = teacher_input;
  else if ((want_full && !take_full) || (want_linear && !options_.teacher_branch))
    input = teacher.input_norm(l, mixed_);

  at::Tensor full, linear;
  if (want_full) {
    // A factor of zero means a gradient of exactly zero: the value is needed for alpha's gradient,
    // the graph is not.
    const at::AutoGradMode graph(gradient_ && value != 0.0);
    full = take_full ? teacher_mixer_ : teacher.attention(l, input, rope_);
  }
  if (want_linear) {
    const at::AutoGradMode graph(gradient_ && value != 1.0);
    linear = model_.branch(l).forward(options_.teacher_branch ? teacher_input : input, rope_);
  }
  if (!want_linear)
    mixed_mixer_ = full;
  else if (!want_full)
    mixed_mixer_ = linear;
  else
    mixed_mixer_ = gradient_ ? gate_mix(full, linear, alpha_[static_cast<size_t>(l)], value)
                             : at::lerp(linear, full, value);
  if (gradient_ && stop_)
    mixed_mixer_.register_hook([stop = *stop_](const at::Tensor&) {
      if (stop.is_set()) throw Error("gates", ErrorCode::stopped, "stopped on request");
    });

  if (options_.teacher) {
    const at::NoGradGuard no_grad;
    teacher_ = teacher_ + teacher_mixer_;
  }
  same_ = shared && !want_linear;
  mixed_ = same_ ? teacher_ : mixed_ + mixed_mixer_;
}

void MixedStream::mlp(int l) {
  check_stop();
  const Teacher& teacher = model_.teacher();
  if (options_.teacher) {
    const at::NoGradGuard no_grad;
    teacher_ = teacher_ + teacher.mlp(l, teacher_);
  }
  mixed_ = same_ && options_.teacher ? teacher_ : mixed_ + teacher.mlp(l, mixed_);
}

void MixedStream::keep_rows(const at::Tensor& rows) {
  const auto cut = [&](const at::Tensor& x) {
    return x.reshape({-1, x.size(-1)}).index_select(0, rows).unsqueeze(0);
  };
  mixed_ = cut(mixed_);
  if (!options_.teacher) return;
  const at::NoGradGuard no_grad;
  teacher_ = cut(teacher_);
}

at::Tensor mixed_states(const MorphModel& model, MixedStreamOptions options, const at::Tensor& ids,
                        const at::Tensor& alpha) {
  options.teacher = options.teacher_full || options.teacher_branch;
  MixedStream stream(model, options, ids, alpha, nullptr);
  for (int l = 0; l < model.layers(); ++l) {
    stream.mixer(l);
    stream.mlp(l);
  }
  return model.teacher().final_norm(stream.mixed());
}

}  // namespace flashmorph
