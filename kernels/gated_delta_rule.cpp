// SPDX-License-Identifier: Apache-2.0
#include "kernels/gated_delta_rule.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/checks.h"
#include "kernels/forms.h"
#include "kernels/operators.h"

namespace flashmorph::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The operators, which a CUDA kernel may take over, know one decay per head.
bool through_operator(const at::Tensor& log_decay, Form form) {
  return form == Form::automatic && log_decay.dim() == 3;
}

Recurrence forward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const at::Tensor& log_decay, const at::Tensor& beta, double scale,
                   const OptionalTensor& state, Form form) {
  if (through_operator(log_decay, form)) {
    auto [output, last] = gated_delta_rule_forward(q, k, v, log_decay, beta, scale, state);
    return {std::move(output), std::move(last)};
  }
  if (form == Form::automatic && q.size(1) == 1)
    return gated_delta_rule_naive(q, k, v, log_decay, beta, scale, state);
  return gated_delta_rule_chunk(q, k, v, log_decay, beta, scale, state);
}

struct GatedDeltaRule : torch::autograd::Function<GatedDeltaRule> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                               const at::Tensor& v, const at::Tensor& log_decay,
                               const at::Tensor& beta, double scale, const OptionalTensor& state,
                               int64_t form) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({q, k, v, log_decay, beta, state.value_or(at::Tensor())});
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
    const OptionalTensor state = optional(saved[5]), d_state = optional(grads[1]);
    const double scale = ctx->saved_data["scale"].toDouble();
    const at::Tensor d_output = grads[0].defined() ? grads[0] : at::zeros_like(saved[2]);
    at::Tensor d_q, d_k, d_v, d_log_decay, d_beta, d_entry;
    if (through_operator(saved[3], static_cast<Form>(ctx->saved_data["form"].toInt()))) {
      std::tie(d_q, d_k, d_v, d_log_decay, d_beta, d_entry) = gated_delta_rule_backward(
          saved[0], saved[1], saved[2], saved[3], saved[4], scale, state, d_output, d_state);
    } else {
      const RecurrenceGradients out = gated_delta_rule_chunk_backward(
          saved[0], saved[1], saved[2], saved[3], saved[4], scale, state, d_output, d_state);
      d_q = out.q, d_k = out.k, d_v = out.v;
      d_log_decay = *out.log_decay, d_beta = *out.beta, d_entry = out.state;
    }
    return {d_q,
            d_k,
            d_v,
            d_log_decay,
            d_beta,
            at::Tensor(),
            state ? d_entry.to(state->scalar_type()) : at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

Recurrence gated_delta_rule(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const at::Tensor& log_decay, const at::Tensor& beta, double scale,
                            const OptionalTensor& state, Form form) {
  check_recurrence("gated_delta_rule", q, k, v, beta, state);
  TORCH_CHECK(log_decay.defined() && (log_decay.dim() == 3 || log_decay.dim() == 4),
              "[gated_delta_rule] log_decay: expected shape [B, T, H] or [B, T, H, K], got ",
              log_decay.defined() ? log_decay.sizes() : at::IntArrayRef());
  check_tensor("gated_delta_rule", "log_decay", log_decay,
               q.sizes().slice(0, static_cast<size_t>(log_decay.dim())), q.device());
  if (form == Form::naive) return gated_delta_rule_naive(q, k, v, log_decay, beta, scale, state);
  if (!wants_gradient({q, k, v, log_decay, beta, state}))
    return forward(q, k, v, log_decay, beta, scale, state, form);
  auto out =
      GatedDeltaRule::apply(q, k, v, log_decay, beta, scale, state, static_cast<int64_t>(form));
  return {std::move(out[0]), std::move(out[1])};
}

}  // namespace flashmorph::kernels
