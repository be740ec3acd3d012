// SPDX-License-Identifier: Apache-2.0
#include "kernels/window_attention.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/checks.h"
#include "kernels/window_attention_forms.h"

namespace flashmorph::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct WindowAttention : torch::autograd::Function<WindowAttention> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& q, const at::Tensor& k,
                            const at::Tensor& v, int64_t sink, int64_t window, double scale) {
    at::AutoDispatchBelowADInplaceOrView guard;
    ctx->save_for_backward({q, k, v});
    ctx->saved_data["sink"] = sink;
    ctx->saved_data["window"] = window;
    ctx->saved_data["scale"] = scale;
    return window_attention_chunk(q, k, v, sink, window, scale);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    auto [dq, dk, dv] = window_attention_chunk_backward(
        saved[0], saved[1], saved[2], ctx->saved_data["sink"].toInt(),
        ctx->saved_data["window"].toInt(), ctx->saved_data["scale"].toDouble(), grads[0]);
    return {dq, dk, dv, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor window_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            int64_t sink, int64_t window, double scale, Form form) {
  TORCH_CHECK(q.defined() && k.defined(), "[window_attention] q, k: expected tensors, got none");
  const at::Device device = q.device();
  check_tensor("window_attention", "q", q, {-1, -1, -1, -1}, device);
  TORCH_CHECK(q.numel() > 0, "[window_attention] q: expected at least one token, got shape ",
              q.sizes());
  check_tensor("window_attention", "k", k, {q.size(0), -1, -1, q.size(3)}, device);
  check_tensor("window_attention", "v", v, {q.size(0), k.size(1), k.size(2), -1}, device);
  check_same_type("window_attention", "k", k, "q", q);
  check_same_type("window_attention", "v", v, "q", q);
  TORCH_CHECK(k.size(1) >= q.size(1), "[window_attention] k: expected at least the ", q.size(1),
              " tokens of q, got ", k.size(1));
  TORCH_CHECK(k.size(2) > 0 && q.size(2) % k.size(2) == 0,
              "[window_attention] k: expected a number of heads that divides ", q.size(2), ", got ",
              k.size(2));
  TORCH_CHECK(sink >= 0, "[window_attention] sink: expected at least 0 tokens, got ", sink);
  TORCH_CHECK(window >= 1, "[window_attention] window: expected at least 1 token, got ", window);
  if (form == Form::naive) return window_attention_naive(q, k, v, sink, window, scale);
  if (!wants_gradient({q, k, v})) return window_attention_chunk(q, k, v, sink, window, scale);
  return WindowAttention::apply(q, k, v, sink, window, scale);
}

}  // namespace flashmorph::kernels
