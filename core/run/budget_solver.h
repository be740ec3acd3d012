// SPDX-License-Identifier: Apache-2.0
// Score + budget K + locks to a layer plan. The GUI calls it on every slider event and the engine
// gets the same answer.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/run/layer_plan.h"

namespace flashmorph {

/// The user's decision about a layer, whatever its score says; the numbers are those of the run
/// file.
enum class Lock : uint8_t { free = 0, full = 1, linear = 2 };

/// A gap between the last kept and the first dropped score below this is "close".
constexpr double kCloseGap = 0.02;

struct BudgetSolution {
  LayerPlan plan;
  int budget = 0;          ///< K of the plan, locked layers included
  std::string moved;       ///< why budget is not the K asked for, in words; empty if it is
  std::vector<int> order;  ///< the free layers, best first
  int last_kept = -1;      ///< free layer just above the cut; -1 if none
  int first_dropped = -1;  ///< free layer just below it; -1 if none
  std::optional<double>
      gap;             ///< score(last_kept) - score(first_dropped) >= 0; nothing without both
  bool close = false;  ///< gap < band
  bool undetermined = false;  ///< the two are equal by all but index
  std::vector<int>
      band;  ///< if close: free layers whose score lies within `band` of the cut, best first
};

/// plan = layers locked full + the best free layers up to K. Best: score, then tie_break, then
/// lower index; a NaN score is worst. K moves to the nearest of (locked full) .. (L - locked
/// linear). score: [L]. tie_break: [L] or empty. locks: [L] or empty (all free). band: scores
/// closer than this count as close; 0.02 suits gates, for other methods give 2 % of the range of
/// their scores. Pure, O(L log L). Throws Error(bad_request) when sizes disagree or L is 0.
BudgetSolution solve_budget(const std::vector<double>& score, const std::vector<double>& tie_break,
                            int K, const std::vector<Lock>& locks = {}, double band = kCloseGap);

/// K for a ratio of linear to full layers, as 3 for 3:1: L / (ratio + 1) rounded half up, at least
/// 1 (method 1).
int budget_of_ratio(int layers, int linear_per_full);

}  // namespace flashmorph
