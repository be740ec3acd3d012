// SPDX-License-Identifier: Apache-2.0
#include "core/run/budget_solver.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/run/gate_rank.h"

namespace flashmorph {

namespace {

std::string layers_word(int n) { return n == 1 ? "1 layer is" : fmt::format("{} layers are", n); }

// NaN is worst, and equal infinities are no distance apart.
double difference(double above, double below) {
  const auto rank = [](double v) {
    return std::isnan(v) ? -std::numeric_limits<double>::infinity() : v;
  };
  above = rank(above), below = rank(below);
  return above == below ? 0.0 : above - below;
}

}  // namespace

BudgetSolution solve_budget(const std::vector<double>& score, const std::vector<double>& tie_break,
                            int K, const std::vector<Lock>& locks, double band) {
  const size_t count = score.size();
  if (count == 0 || (!tie_break.empty() && tie_break.size() != count) ||
      (!locks.empty() && locks.size() != count))
    throw Error("run", ErrorCode::bad_request,
                fmt::format("[solve_budget] expected scores of at least one layer, as many "
                            "tie-breaks and locks or none, got {}, {} and {}",
                            count, tie_break.size(), locks.size()));
  const int layers = static_cast<int>(count);
  const auto lock = [&](int layer) {
    return locks.empty() ? Lock::free : locks[static_cast<size_t>(layer)];
  };

  BudgetSolution solution;
  std::vector<int> kept;
  int locked_linear = 0;
  for (const int layer : rank_order(score, tie_break)) {
    if (lock(layer) == Lock::full)
      kept.push_back(layer);
    else if (lock(layer) == Lock::linear)
      ++locked_linear;
    else
      solution.order.push_back(layer);
  }
  const int least = static_cast<int>(kept.size()), most = layers - locked_linear;
  solution.budget = std::clamp(K, least, most);
  if (K < least)
    solution.moved = least == 0 ? fmt::format("K {} is negative, so K is 0", K)
                                : fmt::format("{} locked full, so K moved from {} to {}",
                                              layers_word(least), K, least);
  else if (K > most)
    solution.moved =
        locked_linear == 0
            ? fmt::format("the model has {} layers, so K moved from {} to {}", layers, K, most)
            : fmt::format("{} locked linear, so K moved from {} to {}", layers_word(locked_linear),
                          K, most);

  const auto free_kept = static_cast<size_t>(solution.budget - least);
  kept.insert(kept.end(), solution.order.begin(),
              solution.order.begin() + static_cast<std::ptrdiff_t>(free_kept));
  solution.plan = LayerPlan::of(layers, std::move(kept));

  if (free_kept > 0) solution.last_kept = solution.order[free_kept - 1];
  if (free_kept < solution.order.size()) solution.first_dropped = solution.order[free_kept];
  if (solution.last_kept < 0 || solution.first_dropped < 0) return solution;

  const auto at = [&](int layer) { return score[static_cast<size_t>(layer)]; };
  const auto tie = [&](int layer) {
    return tie_break.empty() ? 0.0 : tie_break[static_cast<size_t>(layer)];
  };
  solution.gap = difference(at(solution.last_kept), at(solution.first_dropped));
  solution.close = *solution.gap < band;
  solution.undetermined = *solution.gap == 0.0 &&
                          difference(tie(solution.last_kept), tie(solution.first_dropped)) == 0.0;
  if (solution.close)
    for (size_t i = 0; i < solution.order.size(); ++i) {
      const int layer = solution.order[i];
      const double to_cut = i < free_kept ? difference(at(layer), at(solution.first_dropped))
                                          : difference(at(solution.last_kept), at(layer));
      if (to_cut < band) solution.band.push_back(layer);
    }
  return solution;
}

int budget_of_ratio(int layers, int linear_per_full) {
  const int parts = linear_per_full + 1;
  if (layers < 1 || linear_per_full < 0)
    throw Error("run", ErrorCode::bad_request,
                fmt::format("[budget_of_ratio] expected layers of at least 1 and a ratio of at "
                            "least 0, got {} and {}",
                            layers, linear_per_full));
  return std::clamp((2 * layers + parts) / (2 * parts), 1, layers);
}

}  // namespace flashmorph
