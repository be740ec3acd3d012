// SPDX-License-Identifier: Apache-2.0
#include "core/run/gate_rank.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr float kStillOne = 0.99F;  // a gate above this has not moved from its start
constexpr float kNearlyZero = 0.01F;
constexpr double kApart = 0.1;  // between the last kept and the first dropped score

void check(const GateHistory& history) {
  const size_t wanted = history.rows() * static_cast<size_t>(std::max(history.layers, 0));
  if (history.layers < 1 || history.alpha.size() != wanted ||
      (!history.raw.empty() && history.raw.size() != wanted))
    throw Error("gates", ErrorCode::bad_request,
                fmt::format("gate history: expected {} values for {} rows of {} layers, got {} "
                            "after and {} before clamping",
                            wanted, history.rows(), history.layers, history.alpha.size(),
                            history.raw.size()));
}

// Sums of alpha weighted by the steps a row stands for: the score at any row is a difference of two
// rows of sums.
class RunningScore {
 public:
  explicit RunningScore(const GateHistory& history)
      : history_(history),
        layers_(static_cast<size_t>(history.layers)),
        weight_(history.rows() + 1, 0.0),
        sum_((history.rows() + 1) * layers_, 0.0) {
    int64_t before = 0;
    for (size_t row = 0; row < history.rows(); ++row) {
      const auto steps = static_cast<double>(std::max<int64_t>(history.step[row] - before, 1));
      before = history.step[row];
      weight_[row + 1] = weight_[row] + steps;
      for (size_t l = 0; l < layers_; ++l)
        sum_[(row + 1) * layers_ + l] =
            sum_[row * layers_ + l] + steps * static_cast<double>(history.alpha[row * layers_ + l]);
    }
  }

  // First row of the window that ends with row `last`.
  size_t window_start(size_t last, double window) const {
    const double after = (1.0 - window) * static_cast<double>(history_.step[last]);
    const auto end = history_.step.begin() + static_cast<std::ptrdiff_t>(last);
    const auto first = std::upper_bound(
        history_.step.begin(), end, after,
        [](double bound, int64_t step) { return bound < static_cast<double>(step); });
    return static_cast<size_t>(first - history_.step.begin());
  }

  std::vector<double> mean(size_t first, size_t last) const {
    std::vector<double> score(layers_);
    const double weight = weight_[last + 1] - weight_[first];
    for (size_t l = 0; l < layers_; ++l)
      score[l] = (sum_[(last + 1) * layers_ + l] - sum_[first * layers_ + l]) / weight;
    return score;
  }

 private:
  const GateHistory& history_;
  size_t layers_;
  std::vector<double> weight_, sum_;
};

std::vector<double> last_raw(const GateHistory& history, size_t row) {
  const auto layers = static_cast<std::ptrdiff_t>(history.layers);
  const std::vector<float>& values = history.raw.empty() ? history.alpha : history.raw;
  const auto begin = values.begin() + static_cast<std::ptrdiff_t>(row) * layers;
  return {begin, begin + layers};
}

std::optional<GateNotice> first_non_finite(const GateHistory& history) {
  for (size_t i = 0; i < history.alpha.size(); ++i) {
    if (std::isfinite(history.alpha[i])) continue;
    const size_t row = i / static_cast<size_t>(history.layers);
    const int layer = static_cast<int>(i % static_cast<size_t>(history.layers));
    return GateNotice{GateNoticeKind::non_finite,
                      fmt::format("the gate of layer {} is not a number at step {}; lower the "
                                  "learning rate or use float32",
                                  layer, history.step[row]),
                      history.step[row], layer};
  }
  return std::nullopt;
}

// Since which step the order (or the kept set, with whole_order false) is what it is now, with scores
// that stand apart at the cut all the while: early on all gates sink together in an order that means
// nothing. Rows are read backwards from the last.
int64_t unchanged_since(const GateHistory& history, const RunningScore& scores, int budget,
                        bool whole_order, double enough_steps) {
  const bool cut = budget > 0 && budget < history.layers;
  const auto state = [&](size_t row) {
    const std::vector<double> score = scores.mean(scores.window_start(row, kScoreWindow), row);
    std::vector<int> order = rank_order(score, last_raw(history, row));
    if (cut) {
      const auto at = [&](int i) {
        return score[static_cast<size_t>(order[static_cast<size_t>(i)])];
      };
      if (at(budget - 1) - at(budget) < kApart) return std::vector<int>{};
    }
    if (!whole_order) {
      order.resize(static_cast<size_t>(budget));
      std::sort(order.begin(), order.end());
    }
    return order;
  };
  const size_t last = history.rows() - 1;
  const std::vector<int> now = state(last);
  int64_t since = history.step[last];
  if (now.empty()) return since;
  for (size_t row = last; row-- > 0;) {
    if (state(row) != now) break;
    since = history.step[row];
    if (static_cast<double>(history.step[last] - since) >= enough_steps) break;
  }
  return since;
}

}  // namespace

void GateHistory::add(int64_t at_step, const std::vector<double>& row_alpha,
                      const std::vector<double>& row_raw) {
  if (layers == 0) layers = static_cast<int>(row_alpha.size());
  if (row_alpha.size() != static_cast<size_t>(layers) ||
      row_raw.size() != static_cast<size_t>(layers))
    throw Error("gates", ErrorCode::bad_request,
                fmt::format("gate history: expected {} gates, got {} and {}", layers,
                            row_alpha.size(), row_raw.size()));
  if (!step.empty() && at_step <= step.back())
    throw Error(
        "gates", ErrorCode::bad_request,
        fmt::format("gate history: expected a step after {}, got {}", step.back(), at_step));
  step.push_back(at_step);
  for (const double value : row_alpha) alpha.push_back(static_cast<float>(value));
  for (const double value : row_raw) raw.push_back(static_cast<float>(value));
}

GateScore rank_gates(const GateHistory& history, double window, size_t rows) {
  check(history);
  rows = std::min(rows, history.rows());
  const auto layers = static_cast<size_t>(history.layers);
  if (rows == 0) return {std::vector<double>(layers, 1.0), std::vector<double>(layers, 1.0), 0, 0};
  const RunningScore scores(history);
  const size_t last = rows - 1;
  const size_t first = scores.window_start(last, window);
  return {scores.mean(first, last), last_raw(history, last), history.step[first],
          history.step[last]};
}

std::vector<int> rank_order(const std::vector<double>& score,
                            const std::vector<double>& tie_break) {
  std::vector<int> order(score.size());
  std::iota(order.begin(), order.end(), 0);
  const auto value = [](const std::vector<double>& values, int layer) {
    const double v = values.empty() ? 0.0 : values[static_cast<size_t>(layer)];
    return std::isnan(v) ? -std::numeric_limits<double>::infinity() : v;
  };
  // Stable: equal by both values stays in order of the index.
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    const double score_a = value(score, a), score_b = value(score, b);
    if (score_a != score_b) return score_a > score_b;
    return value(tie_break, a) > value(tie_break, b);
  });
  return order;
}

std::vector<GateNotice> gate_notices(const GateHistory& history, int64_t total_steps, int budget) {
  check(history);
  std::vector<GateNotice> notices;
  if (history.rows() == 0) return notices;
  if (auto bad = first_non_finite(history)) {
    notices.push_back(std::move(*bad));
    return notices;
  }
  const int64_t step = history.step.back();
  const double fifth = 0.2 * static_cast<double>(std::max<int64_t>(total_steps, 1));
  const auto now = history.alpha.end() - history.layers;
  if (static_cast<double>(step) >= fifth) {
    if (std::all_of(now, history.alpha.end(), [](float alpha) { return alpha >= kStillOne; }))
      notices.push_back({GateNoticeKind::all_full,
                         fmt::format("all gates are still 1 at step {}: the penalty is too small; "
                                     "raise it or use penalty budget",
                                     step),
                         step, -1});
    if (std::all_of(now, history.alpha.end(), [](float alpha) { return alpha <= kNearlyZero; }))
      notices.push_back({GateNoticeKind::all_linear,
                         fmt::format("all gates are 0 at step {}: the penalty is too large; lower "
                                     "it or use penalty budget",
                                     step),
                         step, -1});
  }
  if (!notices.empty() || history.layers < 2) return notices;
  const RunningScore scores(history);
  const int64_t order_since = unchanged_since(history, scores, budget, true, fifth);
  if (static_cast<double>(step - order_since) >= fifth) {
    notices.push_back(
        {GateNoticeKind::order_unchanged,
         fmt::format(
             "the order of the layers has not changed since step {} ({} steps): training may stop",
             order_since, step - order_since),
         step, -1});
  } else if (budget > 0 && budget < history.layers) {
    const int64_t kept_since = unchanged_since(history, scores, budget, false, fifth);
    if (static_cast<double>(step - kept_since) >= fifth)
      notices.push_back(
          {GateNoticeKind::kept_unchanged,
           fmt::format(
               "the {} kept layers have not changed since step {} ({} steps): training may stop",
               budget, kept_since, step - kept_since),
           step, -1});
  }
  return notices;
}

}  // namespace flashmorph
