// SPDX-License-Identifier: Apache-2.0
// The penalty lambda of stage 2 over the steps: fixed, fitted to a budget, or a path of rising
// values (method 3.2).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace flashmorph {

enum class PenaltyKind { fixed, budget, path };

struct PenaltyChoice {
  PenaltyKind kind = PenaltyKind::fixed;
  double value = 0.1;  ///< fixed only
};
/// "0.1", "budget" or "path". Throws Error(bad_request) naming what it may be.
PenaltyChoice parse_penalty(const std::string& text);

/// The closed form of method 3.3.2: alpha_l = clamp(1 - lambda terms / (2 c_l), 0, 1); 0 where c_l
/// is 0.
std::vector<double> closed_form_gates(const std::vector<double>& c, double lambda, double terms);
/// The lambda at which these gates sum up to `sum` (0 < sum < L), by bisection; 0 if every c_l is
/// 0.
double closed_form_penalty(const std::vector<double>& c, double sum, double terms);

/// Starting point of a fitted penalty and the range of a path.
struct PenaltyScale {
  double start = 0;                ///< lambda_0 of `budget`
  double lowest = 0, highest = 0;  ///< ends of `path`
};
/// From one pass of an alignment loss: c of local_errors.
PenaltyScale scale_of_errors(const std::vector<double>& c, int64_t budget, double terms);
/// From one gradient at gates 0.9: pressure_l = -d loss / d alpha_l; the K-th largest, at least
/// 1e-4.
PenaltyScale scale_of_pressures(std::vector<double> pressure, int64_t budget);

/// lambda of every step. A value; what a continued run needs is value().
class GatePenalty {
 public:
  GatePenalty(PenaltyChoice choice, PenaltyScale scale, int64_t steps, int64_t layers,
              int64_t budget);

  PenaltyKind kind() const { return choice_.kind; }
  /// lambda of 0-based step `step`.
  double value(int64_t step) const;
  /// budget, after a step beyond the first 10 %: lambda <- lambda exp(0.05 (mean alpha - K/L)).
  void update(int64_t step, double mean_alpha);
  double current() const { return current_; }
  void restore(double current, std::vector<double> grid);

  /// path: the steps are cut into segments of equal length, one grid value each, gates carried
  /// over.
  const std::vector<double>& grid() const { return grid_; }
  int64_t segment(int64_t step) const;
  int64_t segment_first(int64_t segment) const;  ///< its first step
  int64_t segment_end(int64_t segment) const;    ///< one past its last step

 private:
  PenaltyChoice choice_;
  int64_t steps_;
  double share_;  // K / L
  double current_ = 0;
  std::vector<double> grid_;
};

/// Score of a path: log10 of the lambda at which each gate first falls below 0.5, log-interpolated
/// between grid values; a gate below at the first value or above at the last is continued by one
/// grid ratio per unit of alpha, so the order is kept. mean_alpha: [grid][L] gates averaged over
/// the last fifth of each segment.
std::vector<double> path_scores(const std::vector<double>& grid,
                                const std::vector<std::vector<double>>& mean_alpha);

}  // namespace flashmorph
