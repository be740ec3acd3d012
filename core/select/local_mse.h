// SPDX-License-Identifier: Apache-2.0
// Local error of each branch on the teacher's own inputs, one forward pass; and the closed form of
// the gates it implies (method 3.3.2, 5.1): the baseline that joint optimization has to beat.
#pragma once

#include "core/select/calibration.h"

namespace flashmorph {

/// Local errors per layer over the tokens T asked for.
struct LocalErrors {
  std::vector<double>
      squared;  ///< c_l = mean_{t in T} |H_lin,t - H_full,t|^2, H = mixer output after W_o
  std::vector<double> relative;  ///< c_l / mean_{t in T} |H_full,t|^2
  int64_t tokens = 0;            ///< |T|
};

/// tokens: "answer" (the positions of the answer tokens) or "all". Throws Error(bad_request) on
/// another word.
LocalErrors local_errors(Calibration& calibration, const std::string& tokens);

/// alpha_l = clamp(1 - lambda L / (2 c_l), 0, 1), the minimum of (1 - alpha)^2 c_l / L + lambda
/// alpha; 0 where c_l = 0 < lambda.
std::vector<double> closed_form_alpha(const std::vector<double>& c, double lambda);
/// The lambda at which these sum to `budget` (bisection); 0 when no positive one does (budget >=
/// layers with c_l > 0).
double closed_form_lambda(const std::vector<double>& c, double budget);

/// score_l = c_l. The detail has the relative errors, the lambda of the budget with its alphas, and
/// the alphas at lambda = 0.1.
SelectorResult select_local_mse(const SelectorInput& input, Calibration& calibration);
/// score_l = c_l / mean |H_full|^2; same detail.
SelectorResult select_local_rel(const SelectorInput& input, Calibration& calibration);

}  // namespace flashmorph
