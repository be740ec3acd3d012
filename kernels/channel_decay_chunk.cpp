// SPDX-License-Identifier: Apache-2.0
// Chunk form of channel_decay and its reverse mode (method 2.4).
#include "kernels/additive_chunk.h"
#include "kernels/forms.h"

namespace flashmorph::kernels {
namespace {

AdditiveChunks chunks_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const at::Tensor& log_decay, const OptionalTensor& beta, double scale,
                         const OptionalTensor& state) {
  const auto type = state_type(v);
  const int64_t C = chunk_length(q.size(1), 16);
  AdditiveChunks in;
  in.Q = to_chunks(q, C, type);
  in.K = to_chunks(k, C, type);
  in.V = to_chunks(v, C, type);
  if (beta) in.beta = to_chunks(*beta, C, type).unsqueeze(-1);
  in.decay = ChunkDecay::per_channel(to_chunks(log_decay, C, type));
  in.state =
      entry_state(state, q.size(0), q.size(2), q.size(3), v.size(3), v.options().dtype(type));
  in.scale = scale;
  return in;
}

}  // namespace

Recurrence channel_decay_chunk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                               const at::Tensor& log_decay, const OptionalTensor& beta,
                               double scale, const OptionalTensor& state) {
  const auto [O, S] = additive_chunk(chunks_of(q, k, v, log_decay, beta, scale, state));
  return {from_chunks(O, q.size(1), v.scalar_type()), S.contiguous()};
}

RecurrenceGradients channel_decay_chunk_backward(const at::Tensor& q, const at::Tensor& k,
                                                 const at::Tensor& v, const at::Tensor& log_decay,
                                                 const OptionalTensor& beta, double scale,
                                                 const OptionalTensor& state,
                                                 const at::Tensor& d_output,
                                                 const OptionalTensor& d_state) {
  const AdditiveChunks in = chunks_of(q, k, v, log_decay, beta, scale, state);
  const int64_t T = q.size(1);
  const AdditiveGradients grads = additive_chunk_backward(
      in, to_chunks(d_output, in.Q.size(3), in.Q.scalar_type()), d_state, true);
  RecurrenceGradients out;
  out.q = from_chunks(grads.Q, T, q.scalar_type());
  out.k = from_chunks(grads.K, T, k.scalar_type());
  out.v = from_chunks(grads.V, T, v.scalar_type());
  if (beta) out.beta = from_chunks(grads.beta, T, beta->scalar_type());
  out.log_decay = from_chunks(grads.log_decay, T, log_decay.scalar_type());
  out.state = grads.state.contiguous();
  return out;
}

}  // namespace flashmorph::kernels
