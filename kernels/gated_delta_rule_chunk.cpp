// SPDX-License-Identifier: Apache-2.0
// Chunk form of gated_delta_rule and its reverse mode (method 2.4, "delta"): everything is batched
// over the chunks but the states, which pass from chunk to chunk.
#include "kernels/chunks.h"
#include "kernels/forms.h"

namespace flashmorph::kernels {
namespace {

// Chunk layout [B, H, N, C, ..]; beta [.., C, 1].
struct DeltaChunks {
  at::Tensor Q, K, V, beta;
  ChunkDecay decay;
  at::Tensor state;
};

DeltaChunks chunks_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      const at::Tensor& log_decay, const at::Tensor& beta,
                      const OptionalTensor& state) {
  const auto type = state_type(v);
  const bool per_channel = log_decay.dim() == 4;
  const int64_t C = chunk_length(q.size(1), per_channel ? 16 : 1);
  DeltaChunks in;
  in.Q = to_chunks(q, C, type);
  in.K = to_chunks(k, C, type);
  in.V = to_chunks(v, C, type);
  in.beta = to_chunks(beta, C, type).unsqueeze(-1);
  const at::Tensor g = to_chunks(log_decay, C, type);
  in.decay = per_channel ? ChunkDecay::per_channel(g) : ChunkDecay::per_token(g);
  in.state =
      entry_state(state, q.size(0), q.size(2), q.size(3), v.size(3), v.options().dtype(type));
  return in;
}

// What forward and backward both need. The writes U = (I + A)^-1 beta (V - K+ S) depend on the
// entry state S of their chunk, so the solve is done for beta V and beta K+ at once, and a chunk
// only has to subtract.
struct Writes {
  at::Tensor M;       // stril(dot(K, K)), [.., C, C]
  at::Tensor A;       // beta M
  at::Tensor erase;   // (I + A)^-1 beta K+, [.., C, K]
  at::Tensor K_exit;  // K * exit, [.., C, K]
  at::Tensor U;       // [.., C, V]
  at::Tensor states;  // at the chunk borders, [B, H, N+1, K, V]
};

Writes writes_of(const DeltaChunks& in) {
  const int64_t V = in.V.size(-1), K = in.K.size(-1), N = in.K.size(2);
  Writes w;
  w.M = in.decay.dot(in.K, in.K).tril_(-1);
  w.A = w.M * in.beta;
  const at::Tensor rhs = at::cat({in.V, in.K * in.decay.entry}, -1).mul_(in.beta);
  const at::Tensor solved = at::linalg_solve_triangular(w.A, rhs, /*upper=*/false, /*left=*/true,
                                                        /*unitriangular=*/true);
  w.U = solved.narrow(-1, 0, V).contiguous();
  w.erase = solved.narrow(-1, V, K).contiguous();
  w.K_exit = in.K * in.decay.exit;
  w.states = at::empty({in.K.size(0), in.K.size(1), N + 1, K, V}, in.K.options());
  w.states.select(2, 0).copy_(in.state);
  for (int64_t n = 0; n < N; ++n) {
    const at::Tensor S = w.states.select(2, n);
    at::Tensor U = w.U.select(2, n);
    U.sub_(at::matmul(w.erase.select(2, n), S));
    at::Tensor next = w.states.select(2, n + 1);
    at::mul_out(next, S, in.decay.total.select(2, n));
    next.add_(at::matmul(w.K_exit.select(2, n).transpose(-1, -2), U));
  }
  return w;
}

}  // namespace

Recurrence gated_delta_rule_chunk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const at::Tensor& log_decay, const at::Tensor& beta, double scale,
                                  const OptionalTensor& state) {
  const DeltaChunks in = chunks_of(q, k, v, log_decay, beta, state);
  const int64_t N = in.Q.size(2);
  const Writes w = writes_of(in);
  at::Tensor O = at::matmul(in.decay.dot(in.Q, in.K), w.U);
  O.add_(at::matmul(in.Q * in.decay.entry, w.states.narrow(2, 0, N))).mul_(scale);
  return {from_chunks(O, q.size(1), v.scalar_type()), w.states.select(2, N).contiguous()};
}

RecurrenceGradients gated_delta_rule_chunk_backward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& log_decay,
    const at::Tensor& beta, double scale, const OptionalTensor& state, const at::Tensor& d_output,
    const OptionalTensor& d_state) {
  const DeltaChunks in = chunks_of(q, k, v, log_decay, beta, state);
  const ChunkDecay& decay = in.decay;
  const int64_t T = q.size(1), C = in.Q.size(3), N = in.Q.size(2);
  const Writes w = writes_of(in);
  const at::Tensor S = w.states.narrow(2, 0, N);
  const at::Tensor sdO = to_chunks(d_output, C, in.Q.scalar_type()).mul_(scale);

  // dS at the chunk borders, from the last to the first, and the gradient of the writes on the way.
  at::Tensor dU = at::matmul(decay.dot(in.Q, in.K).transpose(-1, -2), sdO);
  const at::Tensor read = at::matmul((in.Q * decay.entry).transpose(-1, -2), sdO);
  at::Tensor adjoints = at::empty_like(w.states);
  if (d_state)
    adjoints.select(2, N).copy_(*d_state);
  else
    adjoints.select(2, N).zero_();
  for (int64_t n = N - 1; n >= 0; --n) {
    const at::Tensor after = adjoints.select(2, n + 1);
    at::Tensor dU_n = dU.select(2, n);
    dU_n.add_(at::matmul(w.K_exit.select(2, n), after));
    at::Tensor before = adjoints.select(2, n);
    at::mul_out(before, after, decay.total.select(2, n));
    before.add_(read.select(2, n)).sub_(at::matmul(w.erase.select(2, n).transpose(-1, -2), dU_n));
  }
  const at::Tensor dS = adjoints.narrow(2, 1, N);

  const at::Tensor X = at::linalg_solve_triangular(w.A.transpose(-1, -2), dU, /*upper=*/true,
                                                   /*left=*/true, /*unitriangular=*/true);
  const at::Tensor dV = X * in.beta;
  const at::Tensor W = in.V - at::matmul(in.K * decay.entry, S);
  const at::Tensor dA = at::matmul(X, w.U.transpose(-1, -2)).neg_().tril_(-1);
  const at::Tensor d_beta = (X * W).sum(-1).add_((dA * w.M).sum(-1));
  const at::Tensor dM = dA * in.beta;

  const at::Tensor dP = at::matmul(sdO, w.U.transpose(-1, -2)).tril_();
  const at::Tensor dQ =
      decay.rows(dP, in.K).add_(at::matmul(sdO, S.transpose(-1, -2)).mul_(decay.entry));
  at::Tensor dK_write = decay.columns(dP, in.Q)
                            .add_(at::matmul(w.U, dS.transpose(-1, -2)).mul_(decay.exit))
                            .add_(decay.columns(dM, in.K));
  const at::Tensor dK_erase =
      decay.rows(dM, in.K).sub_(at::matmul(dV, S.transpose(-1, -2)).mul_(decay.entry));
  const at::Tensor d_log_decay =
      log_decay_gradient((in.Q * dQ).add_(in.K * dK_erase), in.K * dK_write,
                         w.states.narrow(2, 1, N), dS, log_decay.dim() == 4);

  RecurrenceGradients out;
  out.q = from_chunks(dQ, T, q.scalar_type());
  out.k = from_chunks(dK_write.add_(dK_erase), T, k.scalar_type());
  out.v = from_chunks(dV, T, v.scalar_type());
  out.log_decay = from_chunks(d_log_decay, T, log_decay.scalar_type());
  out.beta = from_chunks(d_beta, T, beta.scalar_type());
  out.state = adjoints.select(2, 0).contiguous();
  return out;
}

}  // namespace flashmorph::kernels
