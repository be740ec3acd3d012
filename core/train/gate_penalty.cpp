// SPDX-License-Identifier: Apache-2.0
#include "core/train/gate_penalty.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr double kLeastPenalty = 1e-4;  // of scale_of_pressures
constexpr int64_t kMostGridValues = 16, kStepsPerGridValue = 20;

double sum_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

}  // namespace

PenaltyChoice parse_penalty(const std::string& text) {
  if (text == "budget") return {PenaltyKind::budget, 0};
  if (text == "path") return {PenaltyKind::path, 0};
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
      value < 0)
    throw Error("gates", ErrorCode::bad_request,
                fmt::format("penalty \"{}\" is unknown", text.substr(0, 40)),
                "use a number of at least 0, budget or path");
  return {PenaltyKind::fixed, value};
}

std::vector<double> closed_form_gates(const std::vector<double>& c, double lambda, double terms) {
  std::vector<double> alpha;
  for (const double one : c)
    alpha.push_back(one > 0 ? std::clamp(1 - lambda * terms / (2 * one), 0.0, 1.0) : 0.0);
  return alpha;
}

double closed_form_penalty(const std::vector<double>& c, double sum, double terms) {
  const double largest = *std::max_element(c.begin(), c.end());
  if (!(largest > 0)) return 0;
  double low = std::log(1e-18 * largest / terms),
         high = std::log(4 * largest / terms);  // all kept, none kept
  for (int i = 0; i < 200 && high - low > 1e-12; ++i) {
    const double middle = 0.5 * (low + high);
    (sum_of(closed_form_gates(c, std::exp(middle), terms)) > sum ? low : high) = middle;
  }
  return std::exp(0.5 * (low + high));
}

PenaltyScale scale_of_errors(const std::vector<double>& c, int64_t budget, double terms) {
  const auto layers = static_cast<double>(c.size());
  const double wanted = std::clamp(static_cast<double>(budget), 0.01 * layers, 0.99 * layers);
  // A path runs from where the closed form closes the first gates to where it has closed nearly
  // all.
  return {closed_form_penalty(c, wanted, terms), closed_form_penalty(c, 0.95 * layers, terms),
          closed_form_penalty(c, 0.02 * layers, terms)};
}

PenaltyScale scale_of_pressures(std::vector<double> pressure, int64_t budget) {
  std::sort(pressure.begin(), pressure.end(), std::greater<>());
  const auto k =
      static_cast<size_t>(std::clamp<int64_t>(budget, 1, static_cast<int64_t>(pressure.size())));
  const double lowest = std::max(pressure.back(), kLeastPenalty);
  return {std::max(pressure[k - 1], kLeastPenalty), lowest / 2,
          std::max(pressure.front(), 2 * lowest) * 4};
}

GatePenalty::GatePenalty(PenaltyChoice choice, PenaltyScale scale, int64_t steps, int64_t layers,
                         int64_t budget)
    : choice_(choice),
      steps_(steps),
      share_(static_cast<double>(budget) / static_cast<double>(layers)) {
  current_ = choice.kind == PenaltyKind::fixed ? choice.value : scale.start;
  if (choice.kind != PenaltyKind::path) return;
  const int64_t n =
      std::clamp<int64_t>(steps / kStepsPerGridValue, std::min<int64_t>(2, steps), kMostGridValues);
  const double low = std::max(scale.lowest, 1e-12), high = std::max(scale.highest, 2 * low);
  for (int64_t i = 0; i < n; ++i)
    grid_.push_back(
        low *
        std::pow(high / low, n > 1 ? static_cast<double>(i) / static_cast<double>(n - 1) : 0.0));
}

double GatePenalty::value(int64_t step) const {
  return choice_.kind == PenaltyKind::path ? grid_[static_cast<size_t>(segment(step))] : current_;
}

void GatePenalty::update(int64_t step, double mean_alpha) {
  if (choice_.kind == PenaltyKind::budget && 10 * (step + 1) > steps_)
    current_ *= std::exp(0.05 * (mean_alpha - share_));
}

void GatePenalty::restore(double current, std::vector<double> grid) {
  if (grid.size() != grid_.size())
    throw Error("gates", ErrorCode::bad_file,
                fmt::format("the checkpoint has {} penalty values, the run has {}", grid.size(),
                            grid_.size()));
  current_ = current;
  grid_ = std::move(grid);
}

int64_t GatePenalty::segment(int64_t step) const {
  const auto n = static_cast<int64_t>(grid_.size());
  int64_t at = std::min(step * n / steps_, n - 1);
  while (at + 1 < n && segment_first(at + 1) <= step) ++at;
  while (at > 0 && segment_first(at) > step) --at;
  return at;
}

int64_t GatePenalty::segment_first(int64_t segment) const {
  return segment * steps_ / static_cast<int64_t>(grid_.size());
}

int64_t GatePenalty::segment_end(int64_t segment) const { return segment_first(segment + 1); }

std::vector<double> path_scores(const std::vector<double>& grid,
                                const std::vector<std::vector<double>>& mean_alpha) {
  const size_t layers = mean_alpha.empty() ? 0 : mean_alpha[0].size(), n = mean_alpha.size();
  const double ratio = grid.size() > 1 ? std::log10(grid[1] / grid[0]) : 1.0;
  std::vector<double> score(layers);
  for (size_t l = 0; l < layers; ++l) {
    size_t below = 0;
    while (below < n && mean_alpha[below][l] >= 0.5) ++below;
    if (below == 0) {
      score[l] = std::log10(grid[0]) - ratio * (0.5 - mean_alpha[0][l]);
    } else if (below == n) {
      score[l] = std::log10(grid[n - 1]) + ratio * (mean_alpha[n - 1][l] - 0.5);
    } else {
      const double before = mean_alpha[below - 1][l], after = mean_alpha[below][l];
      const double share = (before - 0.5) / (before - after);
      score[l] = std::log10(grid[below - 1]) + share * std::log10(grid[below] / grid[below - 1]);
    }
  }
  return score;
}

}  // namespace flashmorph
