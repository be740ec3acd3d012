// SPDX-License-Identifier: Apache-2.0
// Fast form of short_conv: one multiply-add over all tokens per tap, and its reverse mode.
#include "kernels/chunks.h"
#include "kernels/short_conv_forms.h"

namespace flashmorph::kernels {
namespace {

// [B, W-1+T, D]: the carried inputs in front of the new ones.
at::Tensor with_history(const at::Tensor& x, int64_t W, const OptionalTensor& state) {
  const int64_t B = x.size(0), T = x.size(1), D = x.size(2);
  at::Tensor padded = at::empty({B, W - 1 + T, D}, x.options().dtype(state_type(x)));
  if (state)
    padded.narrow(1, 0, W - 1).copy_(state->transpose(1, 2));
  else
    padded.narrow(1, 0, W - 1).zero_();
  padded.narrow(1, W - 1, T).copy_(x);
  return padded;
}

// The sums before SiLU. taps: [W, D].
at::Tensor convolve(const at::Tensor& padded, const at::Tensor& taps, const OptionalTensor& bias) {
  const int64_t W = taps.size(0), T = padded.size(1) - W + 1;
  at::Tensor p = padded.narrow(1, W - 1, T) * taps.select(0, W - 1);
  for (int64_t w = 0; w < W - 1; ++w) p.addcmul_(padded.narrow(1, w, T), taps.select(0, w));
  if (bias) p.add_(bias->to(p.scalar_type()));
  return p;
}

}  // namespace

ShortConv short_conv_chunk(const at::Tensor& x, const at::Tensor& weight,
                           const OptionalTensor& bias, bool silu, const OptionalTensor& state) {
  const int64_t T = x.size(1), W = weight.size(1);
  const at::Tensor padded = with_history(x, W, state);
  at::Tensor p = convolve(padded, weight.to(padded.scalar_type()).t().contiguous(), bias);
  if (silu) at::silu_(p);
  return {p.to(x.scalar_type()),
          padded.narrow(1, T, W - 1).transpose(1, 2).to(x.scalar_type()).contiguous()};
}

ShortConvGradients short_conv_chunk_backward(const at::Tensor& x, const at::Tensor& weight,
                                             const OptionalTensor& bias, bool silu,
                                             const OptionalTensor& state,
                                             const OptionalTensor& d_output,
                                             const OptionalTensor& d_state) {
  const int64_t T = x.size(1), D = x.size(2), W = weight.size(1);
  const at::Tensor padded = with_history(x, W, state);
  const at::Tensor taps = weight.to(padded.scalar_type()).t().contiguous();
  at::Tensor d_padded = at::zeros_like(padded), d_taps = at::zeros_like(taps);
  at::Tensor d_bias = at::zeros({D}, padded.options());
  if (d_output) {
    at::Tensor dp = d_output->to(padded.scalar_type());
    if (silu) dp = at::silu_backward(dp, convolve(padded, taps, bias));
    for (int64_t w = 0; w < W; ++w) {
      d_padded.narrow(1, w, T).addcmul_(dp, taps.select(0, w));
      d_taps.select(0, w).copy_((dp * padded.narrow(1, w, T)).sum(at::IntArrayRef({0, 1})));
    }
    d_bias = dp.sum(at::IntArrayRef({0, 1}));
  }
  if (d_state) d_padded.narrow(1, T, W - 1).add_(d_state->transpose(1, 2));
  return {d_padded.narrow(1, W - 1, T).to(x.scalar_type()), d_taps.t().to(weight.scalar_type()),
          d_bias, d_padded.narrow(1, 0, W - 1).transpose(1, 2)};
}

}  // namespace flashmorph::kernels
