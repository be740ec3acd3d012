// SPDX-License-Identifier: Apache-2.0
#include "core/train/gate_loss.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/run/error.h"
#include "core/train/mixed_stream.h"
#include "core/train/row_cross_entropy.h"

namespace flashmorph {

namespace {

void one_of(const char* name, const std::string& value,
            std::initializer_list<std::string_view> allowed) {
  if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return;
  throw Error("gates", ErrorCode::bad_request,
              fmt::format("{} \"{}\" is unknown", name, value.substr(0, 40)),
              fmt::format("use one of {}", fmt::join(allowed, ", ")));
}

void at_least(const char* name, double value, double least) {
  if (value >= least && std::isfinite(value)) return;
  throw Error("gates", ErrorCode::bad_request,
              fmt::format("{} is {}, expected at least {}", name, value, least));
}

MixedStreamOptions stream_options(const GateOptions& options) {
  return {options.is_alignment(), options.full_source == "teacher",
          options.branch_source == "teacher"};
}

// Loss positions as indices into [B T].
at::Tensor flat_rows(const GateBatch& batch, at::Device device) {
  return (batch.rows * batch.ids.size(1) + batch.columns).to(device);
}

at::Tensor rows_of(const at::Tensor& states, const at::Tensor& rows) {
  return states.reshape({-1, states.size(-1)}).index_select(0, rows).to(at::kFloat);
}

// Squared distances to the teacher and squared sizes of the teacher's states, one pair per term.
class Distances {
 public:
  void add(const at::Tensor& mixed, const at::Tensor& teacher) {
    distance_.push_back((mixed - teacher).square().sum());
    const at::NoGradGuard no_grad;
    size_.push_back(teacher.square().sum());
  }
  GateLoss loss(const std::string& norm, int64_t positions, int64_t width) const {
    const at::Tensor distance = at::stack(distance_), size = at::stack(size_);
    GateLoss result;
    const auto terms = static_cast<double>(distance_.size());
    if (norm == "relative")
      result.loss = (distance / size).sum() / terms;
    else
      result.loss = distance.sum() / (terms * static_cast<double>(positions) *
                                      (norm == "mean" ? static_cast<double>(width) : 1.0));
    result.relative = distance.detach() / size;
    return result;
  }

 private:
  std::vector<at::Tensor> distance_, size_;
};

}  // namespace

void GateOptions::check() const {
  one_of("constraint", constraint, {"clamp", "sigmoid"});
  one_of("lr_shape", lr_shape, {"trapezoid", "cosine"});
  one_of("full_source", full_source, {"recomputed", "teacher"});
  one_of("branch_source", branch_source, {"mixed", "teacher"});
  one_of("target", target, {"residual", "mixer", "block", "last"});
  one_of("norm", norm, {"sum", "mean", "relative"});
  one_of("tokens", tokens, {"answer", "qa", "all"});
  one_of("supervision", supervision, {"passkey", "lm", "ce", "answer"});
  at_least("steps", static_cast<double>(steps), 1);
  at_least("batch", static_cast<double>(batch), 1);
  at_least("text_length", static_cast<double>(text_length), 2);
  at_least("budget", static_cast<double>(budget), 0);
  at_least("answer_weight", answer_weight, 0);
  at_least("lr_final", lr_final, 0);
  if (!(lr > 0) || !std::isfinite(lr))
    throw Error("gates", ErrorCode::bad_request, fmt::format("lr is {}, expected more than 0", lr));
  if (lr_final > lr)
    throw Error("gates", ErrorCode::bad_request,
                fmt::format("lr_final {} is above lr {}", lr_final, lr));
}

GateLoss gate_loss_terms(const MorphModel& model, const GateOptions& options,
                         const GateBatch& batch, const at::Tensor& alpha, const StopFlag* stop) {
  const Teacher& teacher = model.teacher();
  const at::Device device = teacher.device();
  const at::Tensor rows = flat_rows(batch, device);
  const int last = model.layers() - 1;
  const bool align = options.is_alignment();
  const bool before_mlp = align && (options.target == "residual" || options.target == "mixer");
  MixedStream stream(model, stream_options(options), batch.ids.to(device), alpha, stop);
  Distances distances;
  bool cut = false;  // only the loss positions go on
  const auto add = [&](const at::Tensor& mixed, const at::Tensor& of_teacher) {
    at::Tensor wanted;
    {
      const at::NoGradGuard no_grad;
      wanted = cut ? of_teacher.to(at::kFloat) : rows_of(of_teacher, rows);
    }
    distances.add(cut ? mixed.to(at::kFloat) : rows_of(mixed, rows), wanted);
  };
  for (int l = 0; l <= last; ++l) {
    stream.mixer(l);
    if (align && options.target == "residual") add(stream.mixed(), stream.teacher());
    if (align && options.target == "mixer") add(stream.mixed_mixer(), stream.teacher_mixer());
    if (l == last) {
      if (before_mlp) break;  // the last feed-forward part feeds nothing
      stream.keep_rows(rows);
      cut = true;
    }
    stream.mlp(l);
    if (align && options.target == "block") add(stream.mixed(), stream.teacher());
  }
  if (align && options.target == "last") {
    at::Tensor wanted;
    {
      const at::NoGradGuard no_grad;
      wanted = teacher.final_norm(stream.teacher());
    }
    add(teacher.final_norm(stream.mixed()), wanted);
  }
  if (align) return distances.loss(options.norm, rows.size(0), teacher.config().hidden);
  const at::Tensor nll = row_cross_entropy(teacher, teacher.final_norm(stream.mixed()).squeeze(0),
                                           batch.labels.to(device), stop);
  return {options.supervision == "answer" ? nll * options.answer_weight : nll, {}};
}

at::Tensor gate_loss(const MorphModel& model, const GateOptions& options, const GateBatch& batch,
                     const at::Tensor& alpha, double* relative, const StopFlag* stop) {
  const GateLoss result = gate_loss_terms(model, options, batch, alpha, stop);
  if (relative)
    *relative = result.relative.defined() ? result.relative.mean().item<double>()
                                          : std::numeric_limits<double>::quiet_NaN();
  return result.loss;
}

std::vector<double> local_errors(const MorphModel& model, const GateOptions& options,
                                 const GateBatch& batch, const StopFlag* stop) {
  const at::NoGradGuard no_grad;
  const Teacher& teacher = model.teacher();
  const at::Device device = teacher.device();
  const at::Tensor rows = flat_rows(batch, device);
  const RopeTable rope = teacher.rope_table(0, batch.ids.size(1));
  at::Tensor x = teacher.embed(batch.ids.to(device));
  std::vector<at::Tensor> errors;
  for (int l = 0; l < model.layers(); ++l) {
    if (stop && stop->is_set()) throw Error("gates", ErrorCode::stopped, "stopped on request");
    const at::Tensor u = teacher.input_norm(l, x), full = teacher.attention(l, u, rope);
    at::Tensor error =
        rows_of(model.branch(l).forward(u, rope), rows).sub_(rows_of(full, rows)).square_().sum();
    x = x + full;
    const at::Tensor h = x;
    x = x + teacher.mlp(l, x);
    const auto n = static_cast<double>(rows.size(0));
    if (options.norm == "relative")
      error = error / rows_of(options.target == "mixer"      ? full
                              : options.target == "residual" ? h
                                                             : x,
                              rows)
                          .square_()
                          .sum();
    else
      error = error /
              (n * (options.norm == "mean" ? static_cast<double>(teacher.config().hidden) : 1.0));
    errors.push_back(error);
  }
  const at::Tensor all = at::stack(errors).to(at::kCPU).to(at::kDouble);
  return {all.const_data_ptr<double>(), all.const_data_ptr<double>() + all.numel()};
}

int first_non_finite_layer(const MorphModel& model, const GateOptions& options,
                           const GateBatch& batch, const at::Tensor& alpha) {
  // Without gradient gates at 0 and 1 would hide their idle branch, so both mixers are looked at
  // here.
  const at::NoGradGuard no_grad;
  const Teacher& teacher = model.teacher();
  const auto finite = [](const at::Tensor& x) { return at::isfinite(x).all().item<bool>(); };
  const RopeTable rope = teacher.rope_table(0, batch.ids.size(1));
  MixedStream stream(model, stream_options(options), batch.ids.to(teacher.device()), alpha.detach(),
                     nullptr);
  for (int l = 0; l < model.layers(); ++l) {
    const at::Tensor u = teacher.input_norm(l, stream.mixed());
    if (!finite(model.branch(l).forward(u, rope))) return l;
    stream.mixer(l);
    if (!finite(stream.mixed())) return l;
    stream.mlp(l);
    if (!finite(stream.mixed())) return l;
  }
  return -1;
}

}  // namespace flashmorph
