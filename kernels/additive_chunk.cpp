// SPDX-License-Identifier: Apache-2.0
#include "kernels/additive_chunk.h"

namespace flashmorph::kernels {
namespace {

at::Tensor writes(const AdditiveChunks& in) { return in.beta ? in.V * *in.beta : in.V; }

// States at the chunk borders, [B, H, N+1, K, V]: S_{n+1} = total_n * S_n + (K * exit)^T U.
at::Tensor border_states(const AdditiveChunks& in, const at::Tensor& U) {
  const at::Tensor added = at::matmul((in.K * in.decay.exit).transpose(-1, -2), U);
  const int64_t N = added.size(2);
  auto sizes = added.sizes().vec();
  sizes[2] = N + 1;
  at::Tensor states = at::empty(sizes, added.options());
  states.select(2, 0).copy_(in.state);
  const at::Tensor& total = in.decay.total;
  for (int64_t n = 0; n < N; ++n) {
    at::Tensor next = states.select(2, n + 1);
    at::addcmul_out(next, added.select(2, n), states.select(2, n),
                    total.select(2, total.size(2) == 1 ? 0 : n));
  }
  return states;
}

}  // namespace

std::pair<at::Tensor, at::Tensor> additive_chunk(const AdditiveChunks& in) {
  const int64_t N = in.Q.size(2);
  const at::Tensor U = writes(in);
  const at::Tensor states = border_states(in, U);
  at::Tensor O = at::matmul(in.decay.dot(in.Q, in.K), U);
  O.add_(at::matmul(in.Q * in.decay.entry, states.narrow(2, 0, N)));
  return {O.mul_(in.scale), states.select(2, N)};
}

AdditiveGradients additive_chunk_backward(const AdditiveChunks& in, const at::Tensor& dO,
                                          const std::optional<at::Tensor>& d_state,
                                          bool want_log_decay) {
  const int64_t N = in.Q.size(2);
  const ChunkDecay& decay = in.decay;
  const at::Tensor U = writes(in);
  const at::Tensor states = border_states(in, U);
  const at::Tensor S = states.narrow(2, 0, N);
  const at::Tensor sdO = dO * in.scale;
  const at::Tensor Q_entry = in.Q * decay.entry;

  // dS at the chunk borders, from the last to the first.
  const at::Tensor read = at::matmul(Q_entry.transpose(-1, -2), sdO);
  at::Tensor adjoints = at::empty_like(states);
  if (d_state)
    adjoints.select(2, N).copy_(*d_state);
  else
    adjoints.select(2, N).zero_();
  for (int64_t n = N - 1; n >= 0; --n) {
    at::Tensor before = adjoints.select(2, n);
    at::addcmul_out(before, read.select(2, n), adjoints.select(2, n + 1),
                    decay.total.select(2, decay.total.size(2) == 1 ? 0 : n));
  }
  const at::Tensor dS = adjoints.narrow(2, 1, N);

  AdditiveGradients out;
  const at::Tensor P = decay.dot(in.Q, in.K);
  const at::Tensor dU =
      at::matmul(P.transpose(-1, -2), sdO).add_(at::matmul(in.K * decay.exit, dS));
  const at::Tensor dP = at::matmul(sdO, U.transpose(-1, -2)).tril_();
  out.Q = decay.rows(dP, in.K).add_(at::matmul(sdO, S.transpose(-1, -2)).mul_(decay.entry));
  out.K = decay.columns(dP, in.Q).add_(at::matmul(U, dS.transpose(-1, -2)).mul_(decay.exit));
  if (in.beta) {
    out.V = dU * *in.beta;
    out.beta = (dU * in.V).sum(-1);
  } else {
    out.V = dU;
  }
  if (want_log_decay)
    out.log_decay = log_decay_gradient(in.Q * out.Q, in.K * out.K, states.narrow(2, 1, N), dS,
                                       !decay.pairs.defined());
  out.state = adjoints.select(2, 0);
  return out;
}

}  // namespace flashmorph::kernels
