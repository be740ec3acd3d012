// SPDX-License-Identifier: Apache-2.0
// Registers the operators with the fast CPU or the chunk form as their version for every device,
// and calls them through the dispatcher.
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

#include "kernels/forms.h"
#include "kernels/operators.h"
#include "kernels/scalar_decay_fused.h"

namespace flashmorph::kernels {
namespace {

using ScalarGradients =
    std::tuple<at::Tensor, at::Tensor, at::Tensor, OptionalTensor, OptionalTensor, at::Tensor>;
using DeltaGradients =
    std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;

std::tuple<at::Tensor, at::Tensor> scalar_forward(const at::Tensor& q, const at::Tensor& k,
                                                  const at::Tensor& v,
                                                  const OptionalTensor& log_decay,
                                                  const OptionalTensor& beta, double scale,
                                                  const OptionalTensor& state) {
  Recurrence out = scalar_decay_fused_fits(q)
                       ? scalar_decay_fused(q, k, v, log_decay, beta, scale, state)
                   : q.size(1) == 1 ? scalar_decay_naive(q, k, v, log_decay, beta, scale, state)
                                    : scalar_decay_chunk(q, k, v, log_decay, beta, scale, state);
  return {std::move(out.output), std::move(out.state)};
}

ScalarGradients scalar_backward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const OptionalTensor& log_decay, const OptionalTensor& beta,
                                double scale, const OptionalTensor& state,
                                const at::Tensor& d_output, const OptionalTensor& d_state) {
  RecurrenceGradients out =
      scalar_decay_fused_fits(q)
          ? scalar_decay_fused_backward(q, k, v, log_decay, beta, scale, state, d_output, d_state)
          : scalar_decay_chunk_backward(q, k, v, log_decay, beta, scale, state, d_output, d_state);
  return {std::move(out.q),         std::move(out.k),    std::move(out.v),
          std::move(out.log_decay), std::move(out.beta), std::move(out.state)};
}

std::tuple<at::Tensor, at::Tensor> delta_forward(const at::Tensor& q, const at::Tensor& k,
                                                 const at::Tensor& v, const at::Tensor& log_decay,
                                                 const at::Tensor& beta, double scale,
                                                 const OptionalTensor& state) {
  Recurrence out = q.size(1) == 1 ? gated_delta_rule_naive(q, k, v, log_decay, beta, scale, state)
                                  : gated_delta_rule_chunk(q, k, v, log_decay, beta, scale, state);
  return {std::move(out.output), std::move(out.state)};
}

DeltaGradients delta_backward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const at::Tensor& log_decay, const at::Tensor& beta, double scale,
                              const OptionalTensor& state, const at::Tensor& d_output,
                              const OptionalTensor& d_state) {
  RecurrenceGradients out =
      gated_delta_rule_chunk_backward(q, k, v, log_decay, beta, scale, state, d_output, d_state);
  return {std::move(out.q),          std::move(out.k),     std::move(out.v),
          std::move(*out.log_decay), std::move(*out.beta), std::move(out.state)};
}

template <typename Signature>
auto find(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

}  // namespace

// NOLINTBEGIN: macros of LibTorch
TORCH_LIBRARY(flashmorph, m) {
  const std::string scalar =
      "(Tensor q, Tensor k, Tensor v, Tensor? log_decay, Tensor? beta, float scale, Tensor? state";
  const std::string delta =
      "(Tensor q, Tensor k, Tensor v, Tensor log_decay, Tensor beta, float scale, Tensor? state";
  const std::string forward = ") -> (Tensor output, Tensor final_state)";
  const std::string gradients = ", Tensor d_output, Tensor? d_final_state) -> ";
  const std::string scalar_gradients =
      gradients +
      "(Tensor dq, Tensor dk, Tensor dv, Tensor? d_log_decay, Tensor? d_beta, Tensor d_state)";
  const std::string delta_gradients =
      gradients +
      "(Tensor dq, Tensor dk, Tensor dv, Tensor d_log_decay, Tensor d_beta, Tensor d_state)";
  for (const std::string& suffix : {std::string(), std::string("_chunk")}) {
    m.def(("scalar_decay_forward" + suffix + scalar + forward).c_str());
    m.def(("scalar_decay_backward" + suffix + scalar + scalar_gradients).c_str());
    m.def(("gated_delta_rule_forward" + suffix + delta + forward).c_str());
    m.def(("gated_delta_rule_backward" + suffix + delta + delta_gradients).c_str());
  }
}

TORCH_LIBRARY_IMPL(flashmorph, CompositeExplicitAutograd, m) {
  for (const std::string& suffix : {std::string(), std::string("_chunk")}) {
    m.impl(("scalar_decay_forward" + suffix).c_str(), &scalar_forward);
    m.impl(("scalar_decay_backward" + suffix).c_str(), &scalar_backward);
    m.impl(("gated_delta_rule_forward" + suffix).c_str(), &delta_forward);
    m.impl(("gated_delta_rule_backward" + suffix).c_str(), &delta_backward);
  }
}
// NOLINTEND

std::tuple<at::Tensor, at::Tensor> scalar_decay_forward(const at::Tensor& q, const at::Tensor& k,
                                                        const at::Tensor& v,
                                                        const OptionalTensor& log_decay,
                                                        const OptionalTensor& beta, double scale,
                                                        const OptionalTensor& state) {
  static const auto op = find<decltype(scalar_decay_forward)>("flashmorph::scalar_decay_forward");
  return op.call(q, k, v, log_decay, beta, scale, state);
}

ScalarGradients scalar_decay_backward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const OptionalTensor& log_decay, const OptionalTensor& beta,
                                      double scale, const OptionalTensor& state,
                                      const at::Tensor& d_output,
                                      const OptionalTensor& d_final_state) {
  static const auto op = find<decltype(scalar_decay_backward)>("flashmorph::scalar_decay_backward");
  return op.call(q, k, v, log_decay, beta, scale, state, d_output, d_final_state);
}

std::tuple<at::Tensor, at::Tensor> gated_delta_rule_forward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& log_decay,
    const at::Tensor& beta, double scale, const OptionalTensor& state) {
  static const auto op =
      find<decltype(gated_delta_rule_forward)>("flashmorph::gated_delta_rule_forward");
  return op.call(q, k, v, log_decay, beta, scale, state);
}

DeltaGradients gated_delta_rule_backward(const at::Tensor& q, const at::Tensor& k,
                                         const at::Tensor& v, const at::Tensor& log_decay,
                                         const at::Tensor& beta, double scale,
                                         const OptionalTensor& state, const at::Tensor& d_output,
                                         const OptionalTensor& d_final_state) {
  static const auto op =
      find<decltype(gated_delta_rule_backward)>("flashmorph::gated_delta_rule_backward");
  return op.call(q, k, v, log_decay, beta, scale, state, d_output, d_final_state);
}

}  // namespace flashmorph::kernels
