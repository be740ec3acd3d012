// SPDX-License-Identifier: Apache-2.0
// The gates of every step so far: scores, and the known ills told in words.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace flashmorph {

class GateTrace {
 public:
  GateTrace(int64_t steps, int64_t layers, int64_t budget)
      : steps_(steps), layers_(layers), budget_(budget) {}

  /// Takes the gates after one more step, after and before clamping. Returns an ill seen for the
  /// first time, else "": from a fifth of the steps on all gates at 1 or all at 0; the `budget`
  /// largest gates unchanged for a fifth of the steps (budget 0: not told).
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
  std::string ill(const std::vector<double>& alpha, const std::vector<double>& raw);

  int64_t steps_, layers_, budget_;
  std::vector<std::vector<double>> alpha_, raw_;  // [step][layer]
  std::vector<int64_t> kept_;                     // the budget largest gates, sorted
  int64_t unchanged_ = 0;                         // steps since kept_ last changed
  bool told_ones_ = false, told_zeros_ = false, told_order_ = false;
  std::string notice_;
};

}  // namespace flashmorph
