// SPDX-License-Identifier: Apache-2.0
// The operators of namespace `flashmorph` in LibTorch's dispatcher: CUDA kernels loaded at run time
// take them over.
#pragma once

#include <optional>
#include <tuple>

#include <ATen/ATen.h>

namespace flashmorph::kernels {

// Schemas (register.cpp); shapes as in scalar_decay.h and gated_delta_rule.h. The backward
// operators return gradients in the dtypes of the inputs, d_state in the type of the state;
// d_log_decay of a fixed decay [H] may be absent.
//   scalar_decay_forward(Tensor q, Tensor k, Tensor v, Tensor? log_decay, Tensor? beta, float
//   scale, Tensor? state)
//     -> (Tensor output, Tensor final_state)
//   scalar_decay_backward(.. the same .., Tensor d_output, Tensor? d_final_state)
//     -> (Tensor dq, Tensor dk, Tensor dv, Tensor? d_log_decay, Tensor? d_beta, Tensor d_state)
//   gated_delta_rule_forward / _backward: the same with log_decay: [B, T, H] and beta always there
//   .._chunk: the chunk form under the same arguments, for kernels that meet a shape they do not
//   cover
std::tuple<at::Tensor, at::Tensor> scalar_decay_forward(const at::Tensor& q, const at::Tensor& k,
                                                        const at::Tensor& v,
                                                        const std::optional<at::Tensor>& log_decay,
                                                        const std::optional<at::Tensor>& beta,
                                                        double scale,
                                                        const std::optional<at::Tensor>& state);
std::tuple<at::Tensor, at::Tensor, at::Tensor, std::optional<at::Tensor>, std::optional<at::Tensor>,
           at::Tensor>
scalar_decay_backward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      const std::optional<at::Tensor>& log_decay,
                      const std::optional<at::Tensor>& beta, double scale,
                      const std::optional<at::Tensor>& state, const at::Tensor& d_output,
                      const std::optional<at::Tensor>& d_final_state);
std::tuple<at::Tensor, at::Tensor> gated_delta_rule_forward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& log_decay,
    const at::Tensor& beta, double scale, const std::optional<at::Tensor>& state);
std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>
gated_delta_rule_backward(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& log_decay, const at::Tensor& beta, double scale,
                          const std::optional<at::Tensor>& state, const at::Tensor& d_output,
                          const std::optional<at::Tensor>& d_final_state);

}  // namespace flashmorph::kernels
