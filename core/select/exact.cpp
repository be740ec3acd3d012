// SPDX-License-Identifier: Apache-2.0
#include "core/select/exact.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

int64_t binomial(int n, int k) {
  if (k < 0 || k > n) return 0;
  k = std::min(k, n - k);
  int64_t value = 1;
  for (int i = 1; i <= k; ++i) {
    // value * (n-k+i) / i is whole; take common factors out first so that only the result must fit.
    const int64_t factor = n - k + i, g = std::gcd(value, int64_t{i}), rest = i / g;
    value /= g;
    if (value > std::numeric_limits<int64_t>::max() / (factor / rest))
      return std::numeric_limits<int64_t>::max();
    value *= factor / rest;
  }
  return value;
}

std::vector<LayerPlan> all_plans(int layers, int budget) {
  std::vector<LayerPlan> plans;
  std::vector<int> full(static_cast<size_t>(budget));
  std::iota(full.begin(), full.end(), 0);
  while (true) {
    plans.push_back(LayerPlan::of(layers, full));
    int i = budget - 1;
    while (i >= 0 && full[static_cast<size_t>(i)] == layers - budget + i) --i;
    if (i < 0) return plans;
    std::iota(full.begin() + i, full.end(), full[static_cast<size_t>(i)] + 1);
  }
}

namespace {

void check_count(int64_t count, const std::string& what) {
  if (count > kExact_limit)
    throw Error("select", ErrorCode::bad_request,
                fmt::format("exact: {} are {} plans, the limit is {}", what,
                            count == std::numeric_limits<int64_t>::max() ? "more than 9e18"
                                                                         : std::to_string(count),
                            kExact_limit),
                "use greedy_add or greedy_drop, or a smaller budget");
}

}  // namespace

std::vector<LayerPlan> truth_plans(int layers, int max_budget) {
  if (max_budget < 1 || max_budget > layers)
    throw Error("select", ErrorCode::plan_impossible,
                fmt::format("budgets up to {} do not fit {} layers", max_budget, layers),
                fmt::format("give a budget of 1 to {}", layers));
  int64_t count = 2;
  for (int K = 1; K <= max_budget; ++K) {
    count += std::min(binomial(layers, K), kExact_limit + 1);  // cannot overflow
    check_count(binomial(layers, K), fmt::format("{} of {} layers", K, layers));
  }
  check_count(count, fmt::format("budgets up to {} of {} layers", max_budget, layers));
  std::vector<LayerPlan> plans = {LayerPlan::all_linear(layers)};
  for (int K = 1; K <= std::min(max_budget, layers - 1); ++K) {
    std::vector<LayerPlan> more = all_plans(layers, K);
    plans.insert(plans.end(), std::make_move_iterator(more.begin()),
                 std::make_move_iterator(more.end()));
  }
  plans.push_back(LayerPlan::all_full(layers));
  return plans;
}

SelectorResult select_exact(const SelectorInput& input, Calibration& calibration) {
  const int L = calibration.model().layers(), K = input.budget;
  const int64_t count = binomial(L, K);
  check_count(count, fmt::format("{} of {} layers", K, L));
  const std::vector<LayerPlan> plans = all_plans(L, K);
  const std::vector<AnswerScore> measured = calibration.answer_scores(plans);
  constexpr double none = std::numeric_limits<double>::infinity();
  std::vector<double> with(static_cast<size_t>(L), none), without(static_cast<size_t>(L), none);
  std::vector<size_t> order(plans.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return measured[a].nll_nats < measured[b].nll_nats; });
  for (size_t i = 0; i < plans.size(); ++i)
    for (int l = 0; l < L; ++l) {
      double& lowest = (plans[i].is_full(l) ? with : without)[static_cast<size_t>(l)];
      lowest = std::min(lowest, measured[i].nll_nats);
    }
  SelectorResult result;
  for (size_t l = 0; l < with.size(); ++l)
    result.score.push_back(with[l] == none || without[l] == none ? 0.0 : without[l] - with[l]);
  result.plan = plans[order.front()];
  nlohmann::json best = nlohmann::json::array();
  for (size_t i = 0; i < std::min<size_t>(order.size(), 10); ++i)
    best.push_back({{"plan", plans[order[i]].to_string()},
                    {"nll_nats", measured[order[i]].nll_nats},
                    {"recall", measured[order[i]].recall}});
  result.detail = {{"plans", count},
                   {"best", best},
                   {"median_nll_nats", measured[order[order.size() / 2]].nll_nats},
                   {"worst_nll_nats", measured[order.back()].nll_nats}};
  return result;
}

}  // namespace flashmorph
