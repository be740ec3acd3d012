// SPDX-License-Identifier: Apache-2.0
// The gates of every step so far: scores, and the known ills told in words.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "core/run/gate_rank.h"

namespace flashmorph {

class GateTrace {
 public:
  GateTrace(int64_t steps, int64_t layers, int64_t budget)
      : steps_(steps), layers_(layers), budget_(budget) {}

  /// Takes the gates after one more step, after and before clamping. Returns what gate_notices (core/run,
  /// the same words as in the window) finds for the first time, else ""; looked for a hundred times a run.
  /// budget 0: whether the layers are settled is not told.
  std::string add(const std::vector<double>& alpha, const std::vector<double>& raw);

  int64_t size() const { return static_cast<int64_t>(alpha_.size()); }
  const std::vector<std::vector<double>>& alpha() const { return alpha_; }
  const std::vector<std::vector<double>>& raw() const { return raw_; }
  /// The first ill found.
  const std::string& notice() const { return notice_; }

  /// Mean gate per layer over the last fifth of the steps first..end-1 that exist (at least one).
  /// Empty if there are none.
  std::vector<double> late_mean(int64_t first, int64_t end) const;

 private:
  std::string ill();

  int64_t steps_, layers_, budget_;
  std::vector<std::vector<double>> alpha_, raw_;  // [step][layer]
  GateHistory history_;                           // the same, as core/run takes it
  std::set<GateNoticeKind> told_;
  std::string notice_;
};

}  // namespace flashmorph
