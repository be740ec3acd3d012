// SPDX-License-Identifier: Apache-2.0
// The scalar-decay rule token by token in double precision, forward and reverse (method 2.2, 2.3),
// on plain arrays.
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace reference {

using Array = std::vector<double>;

struct ScalarDecay {
  int64_t batch, tokens, heads, dim;
  double scale;
  Array q, k, v;          // [B, T, H, D]
  Array log_decay, beta;  // [B, T, H]
  Array state;            // [B, H, D, D]
  Array d_output, d_final_state;
  Array output, final_state, dq, dk, dv, d_log_decay, d_beta, d_state;

  void run() {
    const auto all = static_cast<size_t>(batch * tokens * heads * dim);
    for (Array* a : {&output, &dq, &dk, &dv}) a->assign(all, 0.);
    d_log_decay.assign(static_cast<size_t>(batch * tokens * heads), 0.);
    d_beta = d_log_decay;
    final_state = state;
    d_state = d_final_state;
    const size_t n = static_cast<size_t>(dim);
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t h = 0; h < heads; ++h) {
        const size_t s0 = static_cast<size_t>((b * heads + h) * dim * dim);
        std::vector<Array> before(static_cast<size_t>(tokens));
        Array s(state.begin() + static_cast<int64_t>(s0),
                state.begin() + static_cast<int64_t>(s0 + n * n));
        for (int64_t t = 0; t < tokens; ++t) {
          const size_t gate = static_cast<size_t>((b * tokens + t) * heads + h), at = gate * n;
          before[static_cast<size_t>(t)] = s;
          const double a = std::exp(log_decay[gate]);
          for (size_t i = 0; i < n; ++i)
            for (size_t j = 0; j < n; ++j) {
              s[i * n + j] = a * s[i * n + j] + beta[gate] * k[at + i] * v[at + j];
              output[at + j] += scale * q[at + i] * s[i * n + j];
            }
        }
        std::copy(s.begin(), s.end(), final_state.begin() + static_cast<int64_t>(s0));
        Array d(d_final_state.begin() + static_cast<int64_t>(s0),
                d_final_state.begin() + static_cast<int64_t>(s0 + n * n));
        for (int64_t t = tokens - 1; t >= 0; --t) {
          const size_t gate = static_cast<size_t>((b * tokens + t) * heads + h), at = gate * n;
          const double a = std::exp(log_decay[gate]);
          const Array& p = before[static_cast<size_t>(t)];
          for (size_t i = 0; i < n; ++i)
            for (size_t j = 0; j < n; ++j) {
              const double now = a * p[i * n + j] + beta[gate] * k[at + i] * v[at + j];
              double& dd = d[i * n + j];
              dd += scale * q[at + i] * d_output[at + j];
              dq[at + i] += scale * now * d_output[at + j];
              dv[at + j] += beta[gate] * dd * k[at + i];
              dk[at + i] += beta[gate] * dd * v[at + j];
              d_beta[gate] += dd * k[at + i] * v[at + j];
              d_log_decay[gate] += a * p[i * n + j] * dd;
              dd *= a;
            }
        }
        std::copy(d.begin(), d.end(), d_state.begin() + static_cast<int64_t>(s0));
      }
  }
};

}  // namespace reference
