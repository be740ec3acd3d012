// SPDX-License-Identifier: Apache-2.0
#include "kernels/gate_mix.h"

#include <vector>

#include <ATen/Dispatch.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/checks.h"
#include "kernels/chunks.h"
#include "kernels/parallel.h"
#include "kernels/rows.h"

namespace flashmorph::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t part_elements = 32768;

// On a GPU alpha is not read back, so that the host need not wait.
at::Tensor mix_on_device(const at::Tensor& alpha, const at::Tensor& full,
                         const at::Tensor& linear) {
  const auto type = state_type(full);
  const at::Tensor a = alpha.to(full.device(), type);
  const at::Tensor mixed =
      (full.to(type) * a).add_(linear.to(type).mul(1 - a)).to(full.scalar_type());
  return at::where(a == 1, full, at::where(a == 0, linear, mixed));
}

at::Tensor mix(const at::Tensor& alpha, const at::Tensor& full, const at::Tensor& linear) {
  if (!full.is_cpu()) return mix_on_device(alpha, full, linear);
  const double a = alpha.item<double>();
  if (a == 1.0) return full.clone(at::MemoryFormat::Contiguous);
  if (a == 0.0) return linear.clone(at::MemoryFormat::Contiguous);
  const at::Tensor f = full.contiguous(), l = linear.contiguous();
  at::Tensor y = at::empty(f.sizes(), f.options());
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, f.scalar_type(), "gate_mix", [&] {
    using Wide = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
    const Wide keep = static_cast<Wide>(a), rest = static_cast<Wide>(1.0 - a);
    const scalar_t *from_full = f.const_data_ptr<scalar_t>(),
                   *from_linear = l.const_data_ptr<scalar_t>();
    scalar_t* out = y.mutable_data_ptr<scalar_t>();
    parallel_ranges(f.numel(), part_elements, [=](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        out[i] = static_cast<scalar_t>(keep * static_cast<Wide>(from_full[i]) +
                                       rest * static_cast<Wide>(from_linear[i]));
    });
  });
  return y;
}

// <full - linear, dy> on the CPU: parts of fixed size, added in order.
double gate_gradient(const at::Tensor& full, const at::Tensor& linear, const at::Tensor& dy) {
  const at::Tensor f = full.contiguous(), l = linear.contiguous(), d = dy.contiguous();
  const int64_t parts = (f.numel() + part_elements - 1) / part_elements;
  std::vector<double> sums(static_cast<size_t>(parts), 0.0);
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, f.scalar_type(), "gate_mix_backward", [&] {
        using Wide = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
        const scalar_t *from_full = f.const_data_ptr<scalar_t>(),
                       *from_linear = l.const_data_ptr<scalar_t>(),
                       *grad = d.const_data_ptr<scalar_t>();
        parallel_ranges(parts, 1, [&](int64_t begin, int64_t end) {
          for (int64_t part = begin; part < end; ++part) {
            const int64_t first = part * part_elements;
            sums[static_cast<size_t>(part)] = static_cast<double>(
                sum_lanes<Wide>(std::min(part_elements, f.numel() - first), [&](int64_t i) {
                  return (static_cast<Wide>(from_full[first + i]) -
                          static_cast<Wide>(from_linear[first + i])) *
                         static_cast<Wide>(grad[first + i]);
                }));
          }
        });
      });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

struct GateMix : torch::autograd::Function<GateMix> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& alpha, const at::Tensor& full,
                            const at::Tensor& linear) {
    at::AutoDispatchBelowADInplaceOrView guard;
    if (alpha.requires_grad())
      ctx->save_for_backward({alpha, full, linear});
    else
      ctx->save_for_backward({alpha});
    return mix(alpha, full, linear);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &alpha = saved[0], &dy = grads[0];
    at::Tensor d_alpha, d_full, d_linear;
    if (dy.is_cpu()) {
      const double a = alpha.item<double>();
      if (ctx->needs_input_grad(0))
        d_alpha = at::full({}, gate_gradient(saved[1], saved[2], dy), alpha.options());
      if (ctx->needs_input_grad(1)) d_full = a == 1.0 ? dy : dy * a;
      if (ctx->needs_input_grad(2)) d_linear = a == 0.0 ? dy : dy * (1.0 - a);
    } else {
      const auto type = state_type(dy);
      const at::Tensor a = alpha.to(dy.device(), type);
      if (ctx->needs_input_grad(0))
        d_alpha = ((saved[1].to(type) - saved[2].to(type)) * dy).sum().to(alpha.options());
      if (ctx->needs_input_grad(1)) d_full = (dy * a).to(dy.scalar_type());
      if (ctx->needs_input_grad(2)) d_linear = (dy * (1 - a)).to(dy.scalar_type());
    }
    return {d_alpha, d_full, d_linear};
  }
};

}  // namespace

at::Tensor gate_mix(const at::Tensor& alpha, const at::Tensor& full, const at::Tensor& linear) {
  TORCH_CHECK(full.defined(), "[gate_mix] full: expected a tensor, got none");
  check_tensor("gate_mix", "full", full, full.sizes(), full.device());
  check_tensor("gate_mix", "linear", linear, full.sizes(), full.device());
  check_same_type("gate_mix", "linear", linear, "full", full);
  TORCH_CHECK(alpha.defined() && alpha.dim() == 0 && at::isFloatingType(alpha.scalar_type()) &&
                  (alpha.is_cpu() || alpha.device() == full.device()),
              "[gate_mix] alpha: expected a floating-point number [] on ", full.device(), ", got ",
              alpha.defined() ? alpha.toString() : "none");
  if (wants_gradient({alpha, full, linear})) return GateMix::apply(alpha, full, linear);
  return mix(alpha, full, linear);
}

}  // namespace flashmorph::kernels
