// SPDX-License-Identifier: Apache-2.0
// Fast CPU form of scalar_decay: every thread walks the chunks of its heads with the state and all
// intermediates in its cache. The equations are those of the chunk form (method 2.4); products and
// sums are float32 for every narrow input.
#include <vector>

#include "kernels/gemm.h"
#include "kernels/parallel.h"
#include "kernels/scalar_decay_fused.h"
#include "kernels/scalar_decay_fused_parts.h"

namespace flashmorph::kernels {
namespace {

// Scratch of one thread.
struct Scratch {
  explicit Scratch(const Sizes& n)
      : q(chunk_tokens * n.K),
        k(chunk_tokens * n.K),
        stacked((chunk_tokens + n.K) * n.V),
        left(chunk_tokens * (chunk_tokens + std::max(n.K, n.V))),
        k_exit(chunk_tokens * n.K),
        out(chunk_tokens * std::max(n.K, n.V)) {}
  // stacked: the V rows of the chunk, then the state; left: [P | scaled Q]
  std::vector<float> q, k, stacked, left, k_exit, out;
};

template <typename Value>
void forward_head(const Sizes& n, int64_t b, int64_t h, const at::Tensor& q, const at::Tensor& k,
                  const at::Tensor& v, const HeadDecay& decay, const HeadBeta& beta, float scale,
                  at::Tensor& output, float* state, Scratch& s, ChunkFactors& f) {
  const auto q_rows = rows_of<Value>(q, b, h), k_rows = rows_of<Value>(k, b, h),
             v_rows = rows_of<Value>(v, b, h);
  const auto out_rows = rows_to_write<Value>(output, b, h);
  float weights[chunk_tokens], k_factor[chunk_tokens];
  for (int64_t first = 0; first < n.T; first += chunk_tokens) {
    const int64_t c = std::min(chunk_tokens, n.T - first), width = c + n.K;
    decay.build(first, c, f);
    beta.load(first, c, weights);
    load(q_rows, first, c, n.K, s.q.data());
    load(k_rows, first, c, n.K, s.k.data());
    load(v_rows, first, c, n.V, s.stacked.data());
    float* const state_rows = s.stacked.data() + c * n.V;
    std::copy(state, state + n.K * n.V, state_rows);

    // O = [scale beta_j E_ij (Q K^T)_ij | scale entry_i Q_i] [V; S]
    gemm(false, true, c, c, n.K, scale, s.q.data(), n.K, s.k.data(), n.K, 0, s.left.data(), width);
    for (int64_t i = 0; i < c; ++i) {
      float* row = s.left.data() + i * width;
      const float* pair = f.pairs + i * c;
      for (int64_t j = 0; j < c; ++j) row[j] *= pair[j] * weights[j];
    }
    scale_rows(s.q.data(), f.entry, scale, c, n.K, s.left.data() + c, width);
    if constexpr (std::is_same_v<Value, float>) {
      gemm(false, false, c, n.V, width, 1, s.left.data(), width, s.stacked.data(), n.V, 0,
           out_rows.data + first * out_rows.stride, out_rows.stride);
    } else {
      gemm(false, false, c, n.V, width, 1, s.left.data(), width, s.stacked.data(), n.V, 0,
           s.out.data(), n.V);
      store(s.out.data(), first, c, n.V, out_rows);
    }

    // S <- total S + (exit beta K)^T V
    for (int64_t i = 0; i < c; ++i) k_factor[i] = f.exit[i] * weights[i];
    scale_rows(s.k.data(), k_factor, 1, c, n.K, s.k_exit.data(), n.K);
    gemm(true, false, n.K, n.V, c, 1, s.k_exit.data(), n.K, s.stacked.data(), n.V, f.total, state,
         n.V);
  }
}

}  // namespace

bool scalar_decay_fused_fits(const at::Tensor& q) {
  const auto type = q.scalar_type();
  return has_gemm() && q.is_cpu() &&
         (type == at::kFloat || type == at::kBFloat16 || type == at::kHalf);
}

Recurrence scalar_decay_fused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                              const OptionalTensor& log_decay, const OptionalTensor& beta,
                              double scale, const OptionalTensor& state) {
  const Sizes n = sizes_of(q, v);
  const at::Tensor queries = q.contiguous(), keys = k.contiguous(), values = v.contiguous();
  const OptionalTensor decays = as_float(log_decay), weights = as_float(beta);
  at::Tensor output = at::empty({n.B, n.T, n.H, n.V}, v.options());
  at::Tensor last = at::empty({n.B, n.H, n.K, n.V}, v.options().dtype(at::kFloat));
  if (state)
    last.copy_(*state);
  else
    last.zero_();
  float* const states = last.mutable_data_ptr<float>();
  with_type(q.scalar_type(), [&]<typename Value>(Value) {
    parallel_ranges(n.B * n.H, 1, [&](int64_t begin, int64_t end) {
      Scratch scratch(n);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t b = i / n.H, h = i % n.H;
        ChunkFactors factors;
        forward_head<Value>(n, b, h, queries, keys, values, HeadDecay(decays, b, h),
                            HeadBeta(weights, b, h), static_cast<float>(scale), output,
                            states + i * n.K * n.V, scratch, factors);
      }
    });
  });
  return {output, last};
}

}  // namespace flashmorph::kernels
