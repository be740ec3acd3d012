// SPDX-License-Identifier: Apache-2.0
#include "kernels/channel_decay.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/checks.h"
#include "kernels/forms.h"

namespace flashmorph::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

Recurrence forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const at::Tensor& log_decay, const OptionalTensor& beta, double scale,
                   const OptionalTensor& state, Form form) {
  if (form == Form::automatic && q.size(1) == 1)
    return channel_decay_naive(q, k, v, log_decay, beta, scale, state);
  return channel_decay_chunk(q, k, v, log_decay, beta, scale, state);
}

struct ChannelDecay : torch::autograd::Function<ChannelDecay> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& v, const at::Tensor& log_decay,
                               const OptionalTensor& beta, double scale,
                               const OptionalTensor& state, int64_t form) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward(
        {q, k, v, log_decay, beta.value_or(at::Tensor()), state.value_or(at::Tensor())});
    ctx->saved_data["scale"] = scale;
    ctx->set_materialize_grads(false);
    Recurrence out =
        kernels::forward(q, k, v, log_decay, beta, scale, state, static_cast<Form>(form));
    return {std::move(out.output), std::move(out.state)};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    const auto optional = [](const at::Tensor& x) {
      return x.defined() ? OptionalTensor(x) : OptionalTensor();
    };
    const OptionalTensor beta = optional(saved[4]), state = optional(saved[5]);
    const RecurrenceGradients out = channel_decay_chunk_backward(
        saved[0], saved[1], saved[2], saved[3], beta, ctx->saved_data["scale"].toDouble(), state,
        grads[0].defined() ? grads[0] : at::zeros_like(saved[2]), optional(grads[1]));
    return {out.q,
            out.k,
            out.v,
            *out.log_decay,
            out.beta.value_or(at::Tensor()),
            at::Tensor(),
            state ? out.state.to(state->scalar_type()) : at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

Recurrence channel_decay(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const at::Tensor& log_decay, const OptionalTensor& beta, double scale,
                         const OptionalTensor& state, Form form) {
  check_recurrence("channel_decay", q, k, v, beta, state);
  check_tensor("channel_decay", "log_decay", log_decay, q.sizes(), q.device());
  if (form == Form::naive) return channel_decay_naive(q, k, v, log_decay, beta, scale, state);
  if (!wants_gradient({q, k, v, log_decay, beta, state}))
    return forward(q, k, v, log_decay, beta, scale, state, form);
  auto out =
      ChannelDecay::apply(q, k, v, log_decay, beta, scale, state, static_cast<int64_t>(form));
  return {std::move(out[0]), std::move(out[1])};
}

}  // namespace flashmorph::kernels
