// SPDX-License-Identifier: Apache-2.0
#include "kernels/rms_norm.h"

#include <cmath>
#include <vector>

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "kernels/checks.h"
#include "kernels/chunks.h"
#include "kernels/parallel.h"
#include "kernels/rows.h"

namespace flashmorph::kernels {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t grain_elements = 16384;

int64_t row_grain(int64_t D) { return std::max<int64_t>(1, grain_elements / D); }

// One pass per row. x: [R, D] contiguous; weight: [D] of the state type; inverse: [R].
template <typename Value, typename Wide>
void forward_rows(const at::Tensor& x, const at::Tensor& weight, double eps, at::Tensor& y,
                  at::Tensor& inverse) {
  const int64_t D = x.size(1);
  const Value* x_data = x.const_data_ptr<Value>();
  const Wide* w = weight.const_data_ptr<Wide>();
  Value* y_data = y.mutable_data_ptr<Value>();
  Wide* inverse_data = inverse.mutable_data_ptr<Wide>();
  parallel_ranges(x.size(0), row_grain(D), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const Value* in = x_data + row * D;
      Value* out = y_data + row * D;
      const Wide squares = sum_lanes<Wide>(D, [in](int64_t i) {
        const Wide value = static_cast<Wide>(in[i]);
        return value * value;
      });
      const Wide scale =
          Wide(1) / std::sqrt(squares / static_cast<Wide>(D) + static_cast<Wide>(eps));
      inverse_data[row] = scale;
      for (int64_t i = 0; i < D; ++i) {
        const Value normal = static_cast<Value>(static_cast<Wide>(in[i]) * scale);
        out[i] = static_cast<Value>(w[i] * static_cast<Wide>(normal));
      }
    }
  });
}

// With n = x inverse and g = dy weight: dx = inverse (g - n mean(g n)), dweight = sum over rows of
// dy n.
template <typename Value, typename Wide>
void backward_rows(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& inverse,
                   const at::Tensor& dy, at::Tensor& dx, at::Tensor* d_weight) {
  const int64_t D = x.size(1), R = x.size(0), grain = row_grain(D);
  const Value* x_data = x.const_data_ptr<Value>();
  const Value* dy_data = dy.const_data_ptr<Value>();
  const Wide* w = weight.const_data_ptr<Wide>();
  const Wide* inverse_data = inverse.const_data_ptr<Wide>();
  Value* dx_data = dx.mutable_data_ptr<Value>();
  // Partial sums by range, added in order, so that the result does not depend on which thread was
  // first.
  const int64_t ranges = std::max<int64_t>(1, std::min<int64_t>(at::get_num_threads(), R / grain));
  const int64_t rows_per_range = (R + ranges - 1) / ranges;
  std::vector<Wide> partial(d_weight ? static_cast<size_t>(ranges * D) : 0, Wide(0));
  parallel_ranges(ranges, 1, [&](int64_t first, int64_t last) {
    for (int64_t range = first; range < last; ++range) {
      Wide* dw = d_weight ? partial.data() + range * D : nullptr;
      const int64_t end = std::min(R, (range + 1) * rows_per_range);
      for (int64_t row = range * rows_per_range; row < end; ++row) {
        const Value *in = x_data + row * D, *grad = dy_data + row * D;
        Value* out = dx_data + row * D;
        const Wide scale = inverse_data[row];
        const Wide along = sum_lanes<Wide>(D, [&](int64_t i) {
          return static_cast<Wide>(grad[i]) * w[i] * static_cast<Wide>(in[i]);
        });
        const Wide pull = along * scale * scale / static_cast<Wide>(D);
        for (int64_t i = 0; i < D; ++i)
          out[i] = static_cast<Value>(
              scale * (static_cast<Wide>(grad[i]) * w[i] - static_cast<Wide>(in[i]) * pull));
        if (dw)
          for (int64_t i = 0; i < D; ++i) {
            const Value normal = static_cast<Value>(static_cast<Wide>(in[i]) * scale);
            dw[i] += static_cast<Wide>(grad[i]) * static_cast<Wide>(normal);
          }
      }
    }
  });
  if (d_weight) {
    Wide* sum = d_weight->mutable_data_ptr<Wide>();
    for (int64_t i = 0; i < D; ++i) sum[i] = 0;
    for (int64_t range = 0; range < ranges; ++range)
      for (int64_t i = 0; i < D; ++i) sum[i] += partial[static_cast<size_t>(range * D + i)];
  }
}

// LibTorch's CUDA kernel reads and writes once; it multiplies by the weight before it rounds.
bool fused(const at::Tensor& x) { return x.is_cuda() && x.scalar_type() != at::kDouble; }

std::pair<at::Tensor, at::Tensor> normalize(const at::Tensor& x, const at::Tensor& weight,
                                            double eps) {
  const auto type = state_type(x);
  const int64_t D = x.size(-1);
  if (x.is_cpu()) {
    const at::Tensor rows = x.contiguous().view({-1, D});
    const at::Tensor wide_weight = weight.to(type).contiguous();
    at::Tensor y = at::empty(rows.sizes(), rows.options());
    at::Tensor inverse = at::empty({rows.size(0)}, rows.options().dtype(type));
    AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "rms_norm", [&] {
      using Wide = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
      forward_rows<scalar_t, Wide>(rows, wide_weight, eps, y, inverse);
    });
    return {y.view(x.sizes()), inverse};
  }
  if (fused(x)) {
    auto [y, inverse] = at::_fused_rms_norm(x.contiguous(), {D}, weight.to(x.scalar_type()), eps);
    return {y, inverse};
  }
  const at::Tensor wide = x.to(type);
  const at::Tensor inverse = wide.square().mean(-1, /*keepdim=*/true).add_(eps).rsqrt_();
  return {(weight * (wide * inverse).to(x.scalar_type())).to(x.scalar_type()), inverse};
}

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& weight,
                            double eps) {
    at::AutoDispatchBelowADInplaceOrView guard;
    auto [y, inverse] = normalize(x, weight, eps);
    ctx->save_for_backward({x, weight, inverse});
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& grads) {
    at::AutoDispatchBelowADInplaceOrView guard;
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1], &inverse = saved[2];
    const bool want_weight = ctx->needs_input_grad(1);
    const int64_t D = x.size(-1);
    const auto type = inverse.scalar_type();
    if (x.is_cpu()) {
      const at::Tensor rows = x.contiguous().view({-1, D});
      const at::Tensor dy = grads[0].contiguous().view({-1, D});
      const at::Tensor wide_weight = weight.to(type).contiguous();
      at::Tensor dx = at::empty(rows.sizes(), rows.options());
      at::Tensor d_weight = want_weight ? at::empty({D}, wide_weight.options()) : at::Tensor();
      AT_DISPATCH_FLOATING_TYPES_AND2(
          at::kBFloat16, at::kHalf, x.scalar_type(), "rms_norm_backward", [&] {
            using Wide = std::conditional_t<std::is_same_v<scalar_t, double>, double, float>;
            backward_rows<scalar_t, Wide>(rows, wide_weight, inverse, dy, dx,
                                          want_weight ? &d_weight : nullptr);
          });
      return {dx.view(x.sizes()), want_weight ? d_weight.to(weight.scalar_type()) : at::Tensor(),
              at::Tensor()};
    }
    if (fused(x)) {
      auto [dx, dw] =
          at::_fused_rms_norm_backward(grads[0].contiguous(), x.contiguous(), {D}, inverse,
                                       weight.to(x.scalar_type()), {true, want_weight});
      return {dx, want_weight ? dw.to(weight.scalar_type()) : at::Tensor(), at::Tensor()};
    }
    const at::Tensor normal = x.to(type) * inverse;
    const at::Tensor dy = grads[0].to(type);
    const at::Tensor g = dy * weight.to(type);
    const at::Tensor dx = (g - normal * (g * normal).mean(-1, /*keepdim=*/true)) * inverse;
    at::Tensor d_weight;
    if (want_weight)
      d_weight =
          (dy * normal.to(x.scalar_type()).to(type)).view({-1, D}).sum(0).to(weight.scalar_type());
    return {dx.to(x.scalar_type()), d_weight, at::Tensor()};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, double eps) {
  TORCH_CHECK(x.defined() && x.dim() >= 1 && at::isFloatingType(x.scalar_type()) && x.size(-1) > 0,
              "[rms_norm] x: expected a floating-point tensor [.., D], got ",
              x.defined() ? x.toString() : "none");
  check_tensor("rms_norm", "weight", weight, {x.size(-1)}, x.device());
  if (wants_gradient({x, weight})) return RmsNorm::apply(x, weight, eps);
  return normalize(x, weight, eps).first;
}

}  // namespace flashmorph::kernels
