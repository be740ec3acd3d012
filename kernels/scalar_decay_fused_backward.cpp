// SPDX-License-Identifier: Apache-2.0
// Reverse mode of the fast CPU form of scalar_decay: the states once more from left to right, then
// all gradients from right to left (method 2.4).
#include <vector>

#include "kernels/gemm.h"
#include "kernels/parallel.h"
#include "kernels/rows.h"
#include "kernels/scalar_decay_fused.h"
#include "kernels/scalar_decay_fused_parts.h"

namespace flashmorph::kernels {
namespace {

// Where the gradients of one call go.
struct GradientTensors {
  at::Tensor q, k, v;
  at::Tensor log_decay;  // [B, T, H] float32, undefined where not wanted
  at::Tensor beta;       // [B, T, H] float32, undefined where absent
  at::Tensor state;      // [B, H, K, V] float32, holds dS_T at the start and dS_0 at the end
};

struct BackwardScratch {
  explicit BackwardScratch(const Sizes& n)
      : chunks((n.T + chunk_tokens - 1) / chunk_tokens),
        states(static_cast<size_t>((chunks + 1) * n.K * n.V)),
        q(chunk_tokens * n.K),
        k(chunk_tokens * n.K),
        v(chunk_tokens * n.V),
        d_out(chunk_tokens * n.V),
        scaled(chunk_tokens * std::max(n.K, n.V)),
        P(chunk_tokens * chunk_tokens),
        dP(chunk_tokens * chunk_tokens),
        dq(chunk_tokens * n.K),
        dk(chunk_tokens * n.K),
        dv(chunk_tokens * n.V) {}
  int64_t chunks;
  std::vector<float> states;  // at the chunk borders, [N+1, K, V]
  std::vector<float> q, k, v, d_out, scaled, P, dP, dq, dk, dv;
};

float dot(const float* a, const float* b, int64_t n) {
  return sum_lanes<float>(n, [a, b](int64_t i) { return a[i] * b[i]; });
}

template <typename Value>
void backward_head(const Sizes& n, int64_t b, int64_t h, const at::Tensor& q, const at::Tensor& k,
                   const at::Tensor& v, const at::Tensor& d_output, const HeadDecay& decay,
                   const HeadBeta& beta, float scale, GradientTensors& grads, float* adjoint,
                   BackwardScratch& s, ChunkFactors& f) {
  const auto q_rows = rows_of<Value>(q, b, h), k_rows = rows_of<Value>(k, b, h),
             v_rows = rows_of<Value>(v, b, h), d_rows = rows_of<Value>(d_output, b, h);
  const auto dq_rows = rows_to_write<Value>(grads.q, b, h),
             dk_rows = rows_to_write<Value>(grads.k, b, h),
             dv_rows = rows_to_write<Value>(grads.v, b, h);
  const int64_t area = n.K * n.V;
  float weights[chunk_tokens], factor[chunk_tokens], d_log[chunk_tokens];

  // The states again, left to right.
  for (int64_t chunk = 0; chunk + 1 < s.chunks || (grads.log_decay.defined() && chunk < s.chunks);
       ++chunk) {
    const int64_t first = chunk * chunk_tokens, c = std::min(chunk_tokens, n.T - first);
    decay.build(first, c, f);
    beta.load(first, c, weights);
    load(k_rows, first, c, n.K, s.k.data());
    load(v_rows, first, c, n.V, s.v.data());
    for (int64_t i = 0; i < c; ++i) factor[i] = f.exit[i] * weights[i];
    scale_rows(s.k.data(), factor, 1, c, n.K, s.scaled.data(), n.K);
    const float* state = s.states.data() + chunk * area;
    float* next = s.states.data() + (chunk + 1) * area;
    std::copy(state, state + area, next);
    gemm(true, false, n.K, n.V, c, 1, s.scaled.data(), n.K, s.v.data(), n.V, f.total, next, n.V);
  }

  // Right to left; `adjoint` is dS at the exit of the chunk.
  for (int64_t chunk = s.chunks - 1; chunk >= 0; --chunk) {
    const int64_t first = chunk * chunk_tokens, c = std::min(chunk_tokens, n.T - first);
    const float* state = s.states.data() + chunk * area;
    decay.build(first, c, f);
    beta.load(first, c, weights);
    load(q_rows, first, c, n.K, s.q.data());
    load(k_rows, first, c, n.K, s.k.data());
    load(v_rows, first, c, n.V, s.v.data());
    load(d_rows, first, c, n.V, s.d_out.data());
    // The last token's share of the decay gradient, <S', dS'>, before dS moves on.
    const float exit_share = grads.log_decay.defined() ? dot(state + area, adjoint, area) : 0.0F;

    // P = scale E Q K^T without beta; dP = scale E dO (beta V)^T
    gemm(false, true, c, c, n.K, scale, s.q.data(), n.K, s.k.data(), n.K, 0, s.P.data(), c);
    gemm(false, true, c, c, n.V, scale, s.d_out.data(), n.V, s.v.data(), n.V, 0, s.dP.data(), c);
    for (int64_t i = 0; i < c; ++i) {
      float *p = s.P.data() + i * c, *dp = s.dP.data() + i * c;
      const float* pair = f.pairs + i * c;
      for (int64_t j = 0; j < c; ++j) {
        p[j] *= pair[j];
        dp[j] *= pair[j] * weights[j];
      }
    }
    // dQ = scale entry (dO S^T) + dP K
    scale_rows(s.d_out.data(), f.entry, scale, c, n.V, s.scaled.data(), n.V);
    gemm(false, true, c, n.K, n.V, 1, s.scaled.data(), n.V, state, n.V, 0, s.dq.data(), n.K);
    gemm(false, false, c, n.K, c, 1, s.dP.data(), c, s.k.data(), n.K, 1, s.dq.data(), n.K);
    // dK = exit beta (V dS'^T) + dP^T Q
    for (int64_t i = 0; i < c; ++i) factor[i] = f.exit[i] * weights[i];
    scale_rows(s.v.data(), factor, 1, c, n.V, s.scaled.data(), n.V);
    gemm(false, true, c, n.K, n.V, 1, s.scaled.data(), n.V, adjoint, n.V, 0, s.dk.data(), n.K);
    gemm(true, false, c, n.K, c, 1, s.dP.data(), c, s.q.data(), n.K, 1, s.dk.data(), n.K);
    // dU = P^T dO + exit (K dS'),  dV = beta dU,  dbeta = <dU, V>
    scale_rows(s.k.data(), f.exit, 1, c, n.K, s.scaled.data(), n.K);
    gemm(false, false, c, n.V, n.K, 1, s.scaled.data(), n.K, adjoint, n.V, 0, s.dv.data(), n.V);
    gemm(true, false, c, n.V, c, 1, s.P.data(), c, s.d_out.data(), n.V, 1, s.dv.data(), n.V);
    if (beta.given()) {
      float* d_beta = grads.beta.mutable_data_ptr<float>() + (b * n.T + first) * n.H + h;
      for (int64_t i = 0; i < c; ++i)
        d_beta[i * n.H] = dot(s.dv.data() + i * n.V, s.v.data() + i * n.V, n.V);
      scale_rows(s.dv.data(), weights, 1, c, n.V, s.dv.data(), n.V);
    }
    if (grads.log_decay.defined()) {
      float* out = grads.log_decay.mutable_data_ptr<float>() + (b * n.T + first) * n.H + h;
      for (int64_t i = 0; i < c; ++i)
        d_log[i] = dot(s.q.data() + i * n.K, s.dq.data() + i * n.K, n.K) -
                   dot(s.k.data() + i * n.K, s.dk.data() + i * n.K, n.K);
      float sum = exit_share;
      for (int64_t i = c - 1; i >= 0; --i) {
        sum += d_log[i];
        out[i * n.H] = sum;
      }
    }
    // dS <- total dS' + (scale entry Q)^T dO
    scale_rows(s.q.data(), f.entry, scale, c, n.K, s.scaled.data(), n.K);
    gemm(true, false, n.K, n.V, c, 1, s.scaled.data(), n.K, s.d_out.data(), n.V, f.total, adjoint,
         n.V);
    store(s.dq.data(), first, c, n.K, dq_rows);
    store(s.dk.data(), first, c, n.K, dk_rows);
    store(s.dv.data(), first, c, n.V, dv_rows);
  }
}

}  // namespace

RecurrenceGradients scalar_decay_fused_backward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const OptionalTensor& log_decay,
    const OptionalTensor& beta, double scale, const OptionalTensor& state,
    const at::Tensor& d_output, const OptionalTensor& d_state) {
  const Sizes n = sizes_of(q, v);
  const at::Tensor queries = q.contiguous(), keys = k.contiguous(), values = v.contiguous(),
                   d_outputs = d_output.to(v.scalar_type()).contiguous();
  const OptionalTensor decays = as_float(log_decay), weights = as_float(beta);
  const auto wide = v.options().dtype(at::kFloat);
  const bool want_log_decay = log_decay && (log_decay->dim() == 3 || log_decay->requires_grad());
  GradientTensors grads;
  grads.q = at::empty(q.sizes(), q.options());
  grads.k = at::empty(k.sizes(), k.options());
  grads.v = at::empty(v.sizes(), v.options());
  if (want_log_decay) grads.log_decay = at::empty({n.B, n.T, n.H}, wide);
  if (beta) grads.beta = at::empty({n.B, n.T, n.H}, wide);
  grads.state = at::empty({n.B, n.H, n.K, n.V}, wide);
  if (d_state)
    grads.state.copy_(*d_state);
  else
    grads.state.zero_();
  const OptionalTensor entry = as_float(state);
  const float* const entries = entry ? entry->const_data_ptr<float>() : nullptr;
  float* const adjoints = grads.state.mutable_data_ptr<float>();
  const int64_t area = n.K * n.V;
  with_type(q.scalar_type(), [&]<typename Value>(Value) {
    parallel_ranges(n.B * n.H, 1, [&](int64_t begin, int64_t end) {
      BackwardScratch scratch(n);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t b = i / n.H, h = i % n.H;
        if (entries)
          std::copy(entries + i * area, entries + (i + 1) * area, scratch.states.begin());
        else
          std::fill(scratch.states.begin(), scratch.states.begin() + area, 0.0F);
        ChunkFactors factors;
        backward_head<Value>(n, b, h, queries, keys, values, d_outputs, HeadDecay(decays, b, h),
                             HeadBeta(weights, b, h), static_cast<float>(scale), grads,
                             adjoints + i * area, scratch, factors);
      }
    });
  });
  RecurrenceGradients out;
  out.q = grads.q, out.k = grads.k, out.v = grads.v, out.state = grads.state;
  if (beta) out.beta = grads.beta.to(beta->scalar_type());
  if (want_log_decay)
    out.log_decay =
        (log_decay->dim() == 1 ? grads.log_decay.sum(at::IntArrayRef({0, 1})) : grads.log_decay)
            .to(log_decay->scalar_type());
  return out;
}

}  // namespace flashmorph::kernels
