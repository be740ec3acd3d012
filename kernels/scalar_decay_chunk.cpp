// SPDX-License-Identifier: Apache-2.0
// Chunk form of scalar_decay in batched products over all chunks, and its reverse mode
// (method 2.4).
#include "kernels/additive_chunk.h"
#include "kernels/forms.h"

namespace flashmorph::kernels {
namespace {

// Log decays that broadcast over [B, H, N, C]: a fixed or absent decay needs one chunk only, unless
// the last one is short (behind the end nothing may decay).
at::Tensor chunk_log_decay(const at::Tensor& v, const OptionalTensor& log_decay, int64_t C) {
  const auto type = state_type(v);
  const int64_t T = v.size(1), N = (T + C - 1) / C;
  if (!log_decay) return at::zeros({1, 1, 1, C}, v.options().dtype(type));
  if (log_decay->dim() == 3) return to_chunks(*log_decay, C, type);
  const at::Tensor heads = log_decay->to(type).view({1, -1, 1, 1});
  if (T % C == 0) return heads.expand({1, -1, 1, C});
  const at::Tensor inside = at::arange(N * C, heads.options()).lt(T).view({1, 1, N, C});
  return heads * inside;
}

AdditiveChunks chunks_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                         const OptionalTensor& log_decay, const OptionalTensor& beta, double scale,
                         const OptionalTensor& state) {
  const auto type = state_type(v);
  const int64_t C = chunk_length(q.size(1), 1);
  AdditiveChunks in;
  in.Q = to_chunks(q, C, type);
  in.K = to_chunks(k, C, type);
  in.V = to_chunks(v, C, type);
  if (beta) in.beta = to_chunks(*beta, C, type).unsqueeze(-1);
  in.decay = ChunkDecay::per_token(chunk_log_decay(v, log_decay, C));
  in.state =
      entry_state(state, q.size(0), q.size(2), q.size(3), v.size(3), v.options().dtype(type));
  in.scale = scale;
  return in;
}

}  // namespace

Recurrence scalar_decay_chunk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const OptionalTensor& log_decay, const OptionalTensor& beta,
                              double scale, const OptionalTensor& state) {
  const auto [O, S] = additive_chunk(chunks_of(q, k, v, log_decay, beta, scale, state));
  return {from_chunks(O, q.size(1), v.scalar_type()), S.contiguous()};
}

RecurrenceGradients scalar_decay_chunk_backward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const OptionalTensor& log_decay,
    const OptionalTensor& beta, double scale, const OptionalTensor& state,
    const at::Tensor& d_output, const OptionalTensor& d_state) {
  const AdditiveChunks in = chunks_of(q, k, v, log_decay, beta, scale, state);
  const int64_t T = q.size(1);
  // A fixed decay is usually a constant: its gradient is made only when somebody wants it.
  const bool want_log_decay = log_decay && (log_decay->dim() == 3 || log_decay->requires_grad());
  const AdditiveGradients grads = additive_chunk_backward(
      in, to_chunks(d_output, in.Q.size(3), in.Q.scalar_type()), d_state, want_log_decay);
  RecurrenceGradients out;
  out.q = from_chunks(grads.Q, T, q.scalar_type());
  out.k = from_chunks(grads.K, T, k.scalar_type());
  out.v = from_chunks(grads.V, T, v.scalar_type());
  if (beta) out.beta = from_chunks(grads.beta, T, beta->scalar_type());
  if (want_log_decay) {
    const bool fixed = log_decay->dim() == 1;
    const at::Tensor tokens = from_chunks(
        grads.log_decay, T, fixed ? grads.log_decay.scalar_type() : log_decay->scalar_type());
    out.log_decay =
        fixed ? tokens.sum(at::IntArrayRef({0, 1})).to(log_decay->scalar_type()) : tokens;
  }
  out.state = grads.state.contiguous();
  return out;
}

}  // namespace flashmorph::kernels
