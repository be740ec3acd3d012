// SPDX-License-Identifier: Apache-2.0
#include "kernels/scalar_decay.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/checks.h"
#include "kernels/forms.h"
#include "kernels/operators.h"

namespace flashmorph::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The operator may be a CUDA kernel loaded at run time, which knows no gradient of a fixed decay.
bool through_operator(const OptionalTensor& log_decay, Form form) {
  return form == Form::automatic &&
         !(log_decay && log_decay->dim() == 1 && log_decay->requires_grad());
}

Recurrence forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const OptionalTensor& log_decay, const OptionalTensor& beta, double scale,
                   const OptionalTensor& state, Form form) {
  if (!through_operator(log_decay, form))
    return scalar_decay_chunk(q, k, v, log_decay, beta, scale, state);
  auto [output, last] = scalar_decay_forward(q, k, v, log_decay, beta, scale, state);
  return {std::move(output), std::move(last)};
}

struct ScalarDecay : torch::autograd::Function<ScalarDecay> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& v, const OptionalTensor& log_decay,
                               const OptionalTensor& beta, double scale,
                               const OptionalTensor& state, int64_t form) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({q, k, v, log_decay.value_or(at::Tensor()), beta.value_or(at::Tensor()),
                            state.value_or(at::Tensor())});
    ctx->saved_data["scale"] = scale;
    ctx->saved_data["form"] = form;
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
    const OptionalTensor log_decay = optional(saved[3]), beta = optional(saved[4]),
                         state = optional(saved[5]), d_state = optional(grads[1]);
    const double scale = ctx->saved_data["scale"].toDouble();
    const Form form = static_cast<Form>(ctx->saved_data["form"].toInt());
    const at::Tensor d_output = grads[0].defined() ? grads[0] : at::zeros_like(saved[2]);
    RecurrenceGradients out;
    if (through_operator(log_decay, form)) {
      std::tie(out.q, out.k, out.v, out.log_decay, out.beta, out.state) = scalar_decay_backward(
          saved[0], saved[1], saved[2], log_decay, beta, scale, state, d_output, d_state);
    } else {
      out = scalar_decay_chunk_backward(saved[0], saved[1], saved[2], log_decay, beta, scale, state,
                                        d_output, d_state);
    }
    return {out.q,
            out.k,
            out.v,
            out.log_decay.value_or(at::Tensor()),
            out.beta.value_or(at::Tensor()),
            at::Tensor(),
            state ? out.state.to(state->scalar_type()) : at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

Recurrence scalar_decay(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const OptionalTensor& log_decay, const OptionalTensor& beta, double scale,
                        const OptionalTensor& state, Form form) {
  check_recurrence("scalar_decay", q, k, v, beta, state);
  if (log_decay) {
    TORCH_CHECK(log_decay->dim() == 1 || log_decay->dim() == 3,
                "[scalar_decay] log_decay: expected shape [H] or [B, T, H], got ",
                log_decay->sizes());
    if (log_decay->dim() == 1)
      check_tensor("scalar_decay", "log_decay", log_decay, {q.size(2)}, q.device());
    else
      check_tensor("scalar_decay", "log_decay", log_decay, {q.size(0), q.size(1), q.size(2)},
                   q.device());
  }
  if (form == Form::naive) return scalar_decay_naive(q, k, v, log_decay, beta, scale, state);
  if (!wants_gradient({q, k, v, log_decay, beta, state}))
    return forward(q, k, v, log_decay, beta, scale, state, form);
  auto out = ScalarDecay::apply(q, k, v, log_decay, beta, scale, state, static_cast<int64_t>(form));
  return {std::move(out[0]), std::move(out[1])};
}

}  // namespace flashmorph::kernels
