// SPDX-License-Identifier: Apache-2.0
#include "kernels/short_conv.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/checks.h"
#include "kernels/short_conv_forms.h"

namespace flashmorph::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

OptionalTensor optional(const at::Tensor& x) {
  return x.defined() ? OptionalTensor(x) : OptionalTensor();
}

struct ShortConvolution : torch::autograd::Function<ShortConvolution> {
  static variable_list forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                               const OptionalTensor& bias, bool silu, const OptionalTensor& state) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({x, weight, bias.value_or(at::Tensor()), state.value_or(at::Tensor())});
    ctx->saved_data["silu"] = silu;
    ctx->set_materialize_grads(false);
    ShortConv out = short_conv_chunk(x, weight, bias, silu, state);
    return {std::move(out.output), std::move(out.state)};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    const OptionalTensor bias = optional(saved[2]), state = optional(saved[3]);
    const ShortConvGradients out =
        short_conv_chunk_backward(saved[0], saved[1], bias, ctx->saved_data["silu"].toBool(), state,
                                  optional(grads[0]), optional(grads[1]));
    return {out.x, out.weight, bias ? out.bias.to(bias->scalar_type()) : at::Tensor(), at::Tensor(),
            state ? out.state.to(state->scalar_type()) : at::Tensor()};
  }
};

}  // namespace

ShortConv short_conv(const at::Tensor& x, const at::Tensor& weight, const OptionalTensor& bias,
                     bool silu, const OptionalTensor& state, Form form) {
  TORCH_CHECK(x.defined(), "[short_conv] x: expected a tensor, got none");
  check_tensor("short_conv", "x", x, {-1, -1, -1}, x.device());
  TORCH_CHECK(x.numel() > 0, "[short_conv] x: expected at least one token, got shape ", x.sizes());
  check_tensor("short_conv", "weight", weight, {x.size(2), -1}, x.device());
  TORCH_CHECK(weight.size(1) >= 1, "[short_conv] weight: expected at least one tap, got shape ",
              weight.sizes());
  check_tensor("short_conv", "bias", bias, {x.size(2)}, x.device());
  check_tensor("short_conv", "state", state, {x.size(0), x.size(2), weight.size(1) - 1},
               x.device());
  if (form == Form::naive) return short_conv_naive(x, weight, bias, silu, state);
  if (!wants_gradient({x, weight, bias, state}))
    return short_conv_chunk(x, weight, bias, silu, state);
  auto out = ShortConvolution::apply(x, weight, bias, silu, state);
  return {std::move(out[0]), std::move(out[1])};
}

}  // namespace flashmorph::kernels
