// SPDX-License-Identifier: Apache-2.0
// The truth of channel_decay: one token after the other.
#include "kernels/chunks.h"
#include "kernels/forms.h"

namespace flashmorph::kernels {

Recurrence channel_decay_naive(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& log_decay, const OptionalTensor& beta,
                               double scale, const OptionalTensor& state) {
  const auto type = state_type(v);
  const auto qs = q.to(type).unbind(1), ks = k.to(type).unbind(1), vs = v.to(type).unbind(1);
  const auto decays = log_decay.to(type).exp().unbind(1);
  at::Tensor S =
      entry_state(state, q.size(0), q.size(2), q.size(3), v.size(3), v.options().dtype(type));
  std::vector<at::Tensor> outputs;
  outputs.reserve(qs.size());
  for (size_t t = 0; t < qs.size(); ++t) {
    at::Tensor write = ks[t].unsqueeze(-1) * vs[t].unsqueeze(-2);
    if (beta)
      write = beta->to(type).select(1, static_cast<int64_t>(t)).unsqueeze(-1).unsqueeze(-1) * write;
    S = decays[t].unsqueeze(-1) * S + write;
    outputs.push_back(at::matmul((qs[t] * scale).unsqueeze(-2), S).squeeze(-2));
  }
  return {at::stack(outputs, 1).to(v.scalar_type()), S};
}

}  // namespace flashmorph::kernels
