// SPDX-License-Identifier: Apache-2.0
// The gated delta rule token by token in double precision, forward and reverse (method 2.2, 2.3),
// on plain arrays.
#pragma once

#include "tests/kernels/cuda/scalar_decay_reference.h"

namespace reference {

struct GatedDelta : ScalarDecay {
  void run() {
    const auto n = static_cast<size_t>(dim);
    const auto all = static_cast<size_t>(batch * tokens * heads) * n;
    for (Array* a : {&output, &dq, &dk, &dv}) a->assign(all, 0.);
    d_log_decay.assign(static_cast<size_t>(batch * tokens * heads), 0.);
    d_beta = d_log_decay;
    final_state = state;
    d_state = d_final_state;
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t h = 0; h < heads; ++h) one_head(b, h, n);
  }

 private:
  void one_head(int64_t b, int64_t h, size_t n) {
    const auto first = static_cast<int64_t>(static_cast<size_t>(b * heads + h) * n * n);
    const auto last = first + static_cast<int64_t>(n * n);
    Array s(state.begin() + first, state.begin() + last);
    std::vector<Array> before(static_cast<size_t>(tokens)), written(before);
    for (int64_t t = 0; t < tokens; ++t) {
      const auto gate = static_cast<size_t>((b * tokens + t) * heads + h), at = gate * n;
      before[static_cast<size_t>(t)] = s;
      Array& u = written[static_cast<size_t>(t)];
      u.assign(n, 0.);
      for (double& x : s) x *= std::exp(log_decay[gate]);
      for (size_t j = 0; j < n; ++j) {
        double known = 0;
        for (size_t i = 0; i < n; ++i) known += k[at + i] * s[i * n + j];
        u[j] = v[at + j] - known;
      }
      for (size_t i = 0; i < n; ++i)
        for (size_t j = 0; j < n; ++j) {
          s[i * n + j] += beta[gate] * k[at + i] * u[j];
          output[at + j] += scale * q[at + i] * s[i * n + j];
        }
    }
    std::copy(s.begin(), s.end(), final_state.begin() + first);
    Array d(d_final_state.begin() + first, d_final_state.begin() + last);
    for (int64_t t = tokens - 1; t >= 0; --t) {
      const auto gate = static_cast<size_t>((b * tokens + t) * heads + h), at = gate * n;
      const double a = std::exp(log_decay[gate]);
      const Array& p = before[static_cast<size_t>(t)];
      const Array& u = written[static_cast<size_t>(t)];
      Array du(n, 0.);
      for (size_t i = 0; i < n; ++i)
        for (size_t j = 0; j < n; ++j) {
          const double now = a * p[i * n + j] + beta[gate] * k[at + i] * u[j];
          double& dd = d[i * n + j];
          dd += scale * q[at + i] * d_output[at + j];
          dq[at + i] += scale * now * d_output[at + j];
          dk[at + i] += beta[gate] * dd * u[j];
          d_beta[gate] += dd * k[at + i] * u[j];
          du[j] += beta[gate] * dd * k[at + i];
        }
      for (size_t i = 0; i < n; ++i)
        for (size_t j = 0; j < n; ++j) {
          double& dd = d[i * n + j];
          dk[at + i] -= du[j] * a * p[i * n + j];
          dd -= k[at + i] * du[j];
          d_log_decay[gate] += a * p[i * n + j] * dd;
          dd *= a;
        }
      for (size_t j = 0; j < n; ++j) dv[at + j] += du[j];
    }
    std::copy(d.begin(), d.end(), d_state.begin() + first);
  }
};

}  // namespace reference
