// SPDX-License-Identifier: Apache-2.0
// The truth of scalar_decay: one token after the other.
#include "kernels/chunks.h"
#include "kernels/forms.h"

namespace flashmorph::kernels {

Recurrence scalar_decay_naive(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const OptionalTensor& log_decay, const OptionalTensor& beta,
                              double scale, const OptionalTensor& state) {
  const auto type = state_type(v);
  const auto qs = q.to(type).unbind(1), ks = k.to(type).unbind(1), vs = v.to(type).unbind(1);
  const at::Tensor decay = log_decay ? log_decay->to(type).exp() : at::Tensor();
  at::Tensor S =
      entry_state(state, q.size(0), q.size(2), q.size(3), v.size(3), v.options().dtype(type));
  std::vector<at::Tensor> outputs;
  outputs.reserve(qs.size());
  for (size_t t = 0; t < qs.size(); ++t) {
    const auto at_token = [&](const at::Tensor& x) {  // [B, T, H] or [H] -> broadcasts over [K, V]
      const at::Tensor row = x.dim() == 3 ? x.select(1, static_cast<int64_t>(t)) : x;
      return row.unsqueeze(-1).unsqueeze(-1);
    };
    at::Tensor write = ks[t].unsqueeze(-1) * vs[t].unsqueeze(-2);
    if (beta) write = at_token(beta->to(type)) * write;
    S = log_decay ? at_token(decay) * S + write : S + write;
    outputs.push_back(at::matmul((qs[t] * scale).unsqueeze(-2), S).squeeze(-2));
  }
  return {at::stack(outputs, 1).to(v.scalar_type()), S};
}

}  // namespace flashmorph::kernels
