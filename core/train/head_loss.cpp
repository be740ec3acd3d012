// SPDX-License-Identifier: Apache-2.0
#include "core/train/head_loss.h"

#include <algorithm>

namespace flashmorph {

namespace {

at::ScalarType wide_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

}  // namespace

int64_t head_slice_rows(int64_t vocab, at::Device device) {
  const int64_t elements = device.is_cpu() ? int64_t{1} << 22 : int64_t{1} << 26;
  return std::max<int64_t>(16, elements / vocab / 8 * 8);
}

HeadLoss head_loss(const at::Tensor& states, const at::Tensor& head, const HeadTarget& target,
                   const HeadLossOptions& options) {
  const at::NoGradGuard no_grad;
  const int64_t n = states.size(0), slice = options.slice_rows > 0
                                                ? options.slice_rows
                                                : head_slice_rows(head.size(0), states.device());
  const at::ScalarType wide = wide_type(states), compute = states.scalar_type();
  const bool kl = target.reference.defined();
  HeadLoss result;
  result.loss = at::zeros({}, states.options().dtype(wide));
  if (options.gradient) result.d_states = at::empty_like(states);
  for (int64_t first = 0; first < n; first += slice) {
    if (options.check_stop) options.check_stop();
    const int64_t rows = std::min(slice, n - first);
    const at::Tensor x = states.narrow(0, first, rows);
    at::Tensor log_q = at::log_softmax(at::linear(x, head), -1, wide);
    at::Tensor d;  // dz, [rows, V]
    if (kl) {
      at::Tensor difference = at::log_softmax(
          at::linear(target.reference.narrow(0, first, rows), target.reference_head), -1, wide);
      const at::Tensor p = difference.exp();
      difference.sub_(log_q).mul_(p);
      result.loss += difference.sum();
      if (options.gradient) d = log_q.exp_().sub_(p);
    } else {
      const at::Tensor label = target.labels.narrow(0, first, rows).unsqueeze(-1);
      result.loss -= log_q.gather(-1, label).sum();
      if (options.gradient)
        d = log_q.exp_().scatter_add_(-1, label,
                                      at::full({1, 1}, -1.0, log_q.options()).expand({rows, 1}));
    }
    if (!options.gradient) continue;
    d.mul_(options.scale);
    if (compute != wide) d = d.to(compute);
    at::Tensor dx = result.d_states.narrow(0, first, rows);
    at::mm_out(dx, d, head);
    if (options.d_head.defined()) {
      at::Tensor sum = options.d_head;
      if (compute == wide)
        sum.addmm_(d.t(), x);
      else
        sum.add_(d.t().matmul(x));
    }
  }
  result.loss.mul_(options.scale);
  return result;
}

at::Tensor head_loss_naive(const at::Tensor& states, const at::Tensor& head,
                           const HeadTarget& target, double scale) {
  const at::ScalarType wide = wide_type(states);
  const at::Tensor log_q = at::log_softmax(at::linear(states, head).to(wide), -1);
  if (!target.reference.defined())
    return -log_q.gather(-1, target.labels.unsqueeze(-1)).sum() * scale;
  const at::Tensor log_p =
      at::log_softmax(at::linear(target.reference, target.reference_head).to(wide), -1);
  return (log_p.exp() * (log_p - log_q)).sum() * scale;
}

}  // namespace flashmorph
