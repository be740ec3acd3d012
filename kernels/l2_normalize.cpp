// SPDX-License-Identifier: Apache-2.0
#include "kernels/l2_normalize.h"

#include <torch/csrc/autograd/custom_function.h>

#include "kernels/checks.h"
#include "kernels/chunks.h"

namespace flashmorph::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

std::pair<at::Tensor, at::Tensor> normalize(const at::Tensor& x, double eps) {
  const at::Tensor wide = x.to(state_type(x));
  const at::Tensor inverse = wide.square().sum(-1, /*keepdim=*/true).add_(eps).rsqrt_();
  return {(wide * inverse).to(x.scalar_type()), inverse};
}

struct L2Normalize : torch::autograd::Function<L2Normalize> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, double eps) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [y, inverse] = normalize(x, eps);
    ctx->save_for_backward({x, inverse});
    return y;
  }

  // dx = inverse (dy - y <y, dy>)
  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &inverse = saved[1];
    const at::Tensor y = x.to(inverse.scalar_type()) * inverse;
    const at::Tensor dy = grads[0].to(inverse.scalar_type());
    const at::Tensor along = (y * dy).sum(-1, /*keepdim=*/true);
    return {(dy - y * along).mul_(inverse).to(x.scalar_type()), at::Tensor()};
  }
};

}  // namespace

at::Tensor l2_normalize(const at::Tensor& x, double eps) {
  TORCH_CHECK(x.defined() && x.dim() >= 1 && at::isFloatingType(x.scalar_type()),
              "[l2_normalize] x: expected a floating-point tensor [.., D], got ",
              x.defined() ? x.toString() : "none");
  if (wants_gradient({x})) return L2Normalize::apply(x, eps);
  return normalize(x, eps).first;
}

}  // namespace flashmorph::kernels
