// SPDX-License-Identifier: Apache-2.0
// The truth of gated_delta_rule: one token after the other.
#include "kernels/chunks.h"
#include "kernels/forms.h"

namespace flashmorph::kernels {

Recurrence gated_delta_rule_naive(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const at::Tensor& log_decay, const at::Tensor& beta, double scale,
                                  const OptionalTensor& state) {
  const auto type = state_type(v);
  const auto qs = q.to(type).unbind(1), ks = k.to(type).unbind(1), vs = v.to(type).unbind(1);
  const auto betas = beta.to(type).unbind(1);
  // [B, T, H, 1 or K]: one factor per head or per row of the state
  const at::Tensor decay = log_decay.to(type).exp();
  const auto decays = (decay.dim() == 3 ? decay.unsqueeze(-1) : decay).unbind(1);
  at::Tensor S =
      entry_state(state, q.size(0), q.size(2), q.size(3), v.size(3), v.options().dtype(type));
  std::vector<at::Tensor> outputs;
  outputs.reserve(qs.size());
  for (size_t t = 0; t < qs.size(); ++t) {
    const at::Tensor P = decays[t].unsqueeze(-1) * S;
    const at::Tensor known = at::matmul(ks[t].unsqueeze(-2), P).squeeze(-2);
    const at::Tensor write = betas[t].unsqueeze(-1) * (vs[t] - known);
    S = P + ks[t].unsqueeze(-1) * write.unsqueeze(-2);
    outputs.push_back(at::matmul((qs[t] * scale).unsqueeze(-2), S).squeeze(-2));
  }
  return {at::stack(outputs, 1).to(v.scalar_type()), S};
}

}  // namespace flashmorph::kernels
