// SPDX-License-Identifier: Apache-2.0
// Random cases of every kind of recurrence, for comparing forms with each other on any device.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <map>

#include "compare.h"
#include "kernels/channel_decay.h"
#include "kernels/decay_slopes.h"
#include "kernels/gated_delta_rule.h"
#include "kernels/l2_normalize.h"
#include "kernels/scalar_decay.h"

namespace flashmorph::kernels {

inline const std::vector<std::string>& recurrence_kinds() {
  static const std::vector<std::string> kinds{"plain", "lightning", "simple", "mamba2",
                                              "gla",   "gdn",       "kda"};
  return kinds;
}

/// One kind with leaves in the order q, k, v, S0, then log_decay, then beta where the kind has
/// them.
struct RecurrenceCase {
  std::string kind;
  std::vector<std::string> names;
  std::vector<at::Tensor> leaves;
  at::Tensor d_output, d_state;  ///< weights of o and S_T in the loss
  double scale = 0;

  Op op(Form form) const {
    return [this, form](const std::vector<at::Tensor>& x) -> std::vector<at::Tensor> {
      const auto leaf = [&](const char* name) -> std::optional<at::Tensor> {
        for (size_t i = 0; i < names.size(); ++i)
          if (names[i] == name) return x[i];
        return {};
      };
      Recurrence out;
      if (kind == "gla")
        out = channel_decay(x[0], x[1], x[2], *leaf("log_decay"), {}, scale, x[3], form);
      else if (kind == "gdn" || kind == "kda")
        out = gated_delta_rule(x[0], x[1], x[2], *leaf("log_decay"), *leaf("beta"), scale, x[3],
                               form);
      else
        out = scalar_decay(x[0], x[1], x[2], leaf("log_decay"), leaf("beta"), scale, x[3], form);
      return {out.output, out.state};
    };
  }

  Evaluation run(Form form, const at::TensorOptions& options = at::kFloat) const {
    std::vector<at::Tensor> inputs;
    for (size_t i = 0; i < leaves.size(); ++i) {
      // States, decays and write weights stay wide when q, k, v are narrow.
      const bool narrow = i < 3 || at::elementSize(c10::typeMetaToScalarType(options.dtype())) > 2;
      inputs.push_back(narrow ? leaves[i].to(options) : leaves[i].to(options.device(), at::kFloat));
    }
    return kernels::run(op(form), inputs, {d_output.to(options), d_state.to(options.device())});
  }
};

struct RecurrenceSizes {
  int64_t B = 2, T = 100, H = 3, K = 16, V = 24;
};

inline RecurrenceCase make_recurrence(const std::string& kind, const RecurrenceSizes& n,
                                      uint64_t seed = 7) {
  at::manual_seed(seed);
  const auto options = at::TensorOptions(at::kDouble);
  RecurrenceCase c;
  c.kind = kind;
  c.scale = kind == "mamba2" ? 1.0 : 1.0 / std::sqrt(static_cast<double>(n.K));
  at::Tensor q = at::randn({n.B, n.T, n.H, n.K}, options);
  at::Tensor k = at::randn({n.B, n.T, n.H, n.K}, options);
  const at::Tensor v = at::randn({n.B, n.T, n.H, n.V}, options);
  const bool delta = kind == "gdn" || kind == "kda";
  if (delta) q = l2_normalize(q), k = l2_normalize(k);
  c.names = {"q", "k", "v", "S0"};
  c.leaves = {q, k, v, at::randn({n.B, n.H, n.K, n.V}, options)};
  const auto add = [&c](const char* name, const at::Tensor& x) {
    c.names.emplace_back(name);
    c.leaves.push_back(x);
  };
  const at::Tensor per_token = at::randn({n.B, n.T, n.H}, options);
  if (kind == "lightning") {
    add("log_decay", -at::tensor(lightning_slopes(n.H), options));
  } else if (kind == "simple") {
    add("log_decay", at::log_sigmoid(per_token * 2) / 16);
  } else if (kind == "mamba2") {
    const at::Tensor dt = at::softplus(per_token - 2);
    add("log_decay", -4 * dt);
    add("beta", dt);
  } else if (kind == "gla") {
    add("log_decay", at::log_sigmoid(at::randn({n.B, n.T, n.H, n.K}, options) * 2) / 16);
  } else if (kind == "gdn") {
    add("log_decay", -at::softplus(per_token - 2));
    add("beta", 2 * at::sigmoid(at::randn({n.B, n.T, n.H}, options)));
  } else if (kind == "kda") {
    add("log_decay", -at::softplus(at::randn({n.B, n.T, n.H, n.K}, options) - 2));
    add("beta", at::sigmoid(at::randn({n.B, n.T, n.H}, options)));
  }
  c.d_output = at::randn({n.B, n.T, n.H, n.V}, options);
  c.d_state = at::randn({n.B, n.H, n.K, n.V}, options);
  return c;
}

/// Expects outputs and all gradients of `got` within `tolerance` (relative) of `reference`, those
/// named in `other` within their own; returns the largest error.
inline double expect_close(const RecurrenceCase& c, const Evaluation& got,
                           const Evaluation& reference, double tolerance,
                           const std::string& where,
                           const std::map<std::string, double>& other = {}) {
  double worst = 0;
  const auto compare = [&](const std::string& name, const at::Tensor& a, const at::Tensor& b) {
    const double error = relative_error(a, b);
    worst = std::max(worst, error);
    const auto own = other.find(name);
    EXPECT_LT(error, own == other.end() ? tolerance : own->second) << c.kind << " " << where << ": " << name;
  };
  compare("o", got.outputs[0], reference.outputs[0]);
  compare("S_T", got.outputs[1], reference.outputs[1]);
  for (size_t i = 0; i < c.names.size(); ++i) {
    if (!got.gradients[i].defined()) {
      ADD_FAILURE() << c.kind << " " << where << ": no gradient of " << c.names[i];
      continue;
    }
    compare("d" + c.names[i], got.gradients[i], reference.gradients[i]);
  }
  if (std::getenv("FLASHMORPH_PRINT_ERRORS"))
    std::printf("%s %s: largest error %.1e\n", c.kind.c_str(), where.c_str(), worst);
  return worst;
}

}  // namespace flashmorph::kernels
