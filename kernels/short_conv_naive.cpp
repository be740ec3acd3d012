// SPDX-License-Identifier: Apache-2.0
// The truth of short_conv: one token after the other, the state as a sliding window.
#include "kernels/chunks.h"
#include "kernels/short_conv_forms.h"

namespace flashmorph::kernels {

ShortConv short_conv_naive(const at::Tensor& x, const at::Tensor& weight,
                           const OptionalTensor& bias, bool silu, const OptionalTensor& state) {
  const auto type = state_type(x);
  const int64_t B = x.size(0), T = x.size(1), D = x.size(2), W = weight.size(1);
  const at::Tensor taps = weight.to(type);
  at::Tensor window = state ? state->to(type) : at::zeros({B, D, W - 1}, x.options().dtype(type));
  std::vector<at::Tensor> outputs;
  for (int64_t t = 0; t < T; ++t) {
    window = at::cat({window, x.select(1, t).to(type).unsqueeze(-1)}, -1);  // [B, D, W]
    at::Tensor p = (window * taps).sum(-1);
    if (bias) p = p + bias->to(type);
    outputs.push_back(silu ? p * at::sigmoid(p) : p);
    window = window.narrow(-1, 1, W - 1);
  }
  return {at::stack(outputs, 1).to(x.scalar_type()), window.to(x.scalar_type())};
}

}  // namespace flashmorph::kernels
