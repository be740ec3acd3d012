// SPDX-License-Identifier: Apache-2.0
#include "core/train/gate_trace.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

namespace flashmorph {

namespace {

constexpr double kNearlyOne = 0.99, kNearlyZero = 0.01;
constexpr double kApart = 0.1;  // between the last kept and the first dropped gate

}  // namespace

std::string GateTrace::add(const std::vector<double>& alpha, const std::vector<double>& raw) {
  alpha_.push_back(alpha);
  raw_.push_back(raw);
  const std::string found = ill(alpha, raw);
  if (notice_.empty()) notice_ = found;
  return found;
}

std::string GateTrace::ill(const std::vector<double>& alpha, const std::vector<double>& raw) {
  std::vector<int64_t> order(static_cast<size_t>(layers_));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    const auto i = static_cast<size_t>(a), j = static_cast<size_t>(b);
    return alpha[i] != alpha[j] ? alpha[i] > alpha[j] : raw[i] > raw[j];
  });
  std::vector<int64_t> kept(order.begin(),
                            order.begin() + std::clamp<int64_t>(budget_, 0, layers_));
  std::sort(kept.begin(), kept.end());
  const auto [least, most] = std::minmax_element(alpha.begin(), alpha.end());
  // Only gates that stand apart at the cut have an order worth calling stable: early on all of them sink together.
  const bool apart = budget_ > 0 && budget_ < layers_ &&
                     alpha[static_cast<size_t>(order[static_cast<size_t>(budget_) - 1])] -
                             alpha[static_cast<size_t>(order[static_cast<size_t>(budget_)])] >=
                         kApart;
  unchanged_ = kept == kept_ && apart ? unchanged_ + 1 : 0;
  kept_ = std::move(kept);

  const int64_t fifth = std::max<int64_t>(steps_ / 5, 1);
  if (size() >= fifth && *least > kNearlyOne && !told_ones_) {
    told_ones_ = true;
    return fmt::format("all gates are still 1 after {} steps: the penalty is too small", size());
  }
  if (size() >= fifth && *most < kNearlyZero && !told_zeros_) {
    told_zeros_ = true;
    return fmt::format("all gates are 0 after {} steps: the penalty is too large", size());
  }
  if (budget_ > 0 && unchanged_ >= fifth && !told_order_) {
    told_order_ = true;
    return fmt::format(
        "order unchanged: the {} largest gates have been the same layers for {} steps, so the run "
        "may stop here",
        budget_, unchanged_);
  }
  return {};
}

std::vector<double> GateTrace::late_mean(int64_t first, int64_t end) const {
  end = std::min(end, size());
  const int64_t window = std::max<int64_t>((end - first) / 5, 1);
  if (end - window < first) return {};
  std::vector<double> mean(static_cast<size_t>(layers_), 0.0);
  for (int64_t step = end - window; step < end; ++step)
    for (size_t l = 0; l < mean.size(); ++l) mean[l] += alpha_[static_cast<size_t>(step)][l];
  for (double& one : mean) one /= static_cast<double>(window);
  return mean;
}

}  // namespace flashmorph
