// SPDX-License-Identifier: Apache-2.0
#include "core/run/recall_grid.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

[[noreturn]] void refuse(const std::string& what) {
  throw Error("eval", ErrorCode::bad_request, what);
}

// Adds what a pair of cells has in common: differences, hits, signs.
struct PairedSums {
  PairedStatistics count;
  double sum = 0, sum_of_squares = 0;

  void add(const RecallCell& a, const RecallCell& b) {
    const size_t trials = std::min(a.trial_score.size(), b.trial_score.size());
    for (size_t r = 0; r < trials; ++r) {
      const auto score_a = static_cast<double>(a.trial_score[r]),
                 score_b = static_cast<double>(b.trial_score[r]);
      if (std::isnan(score_a) || std::isnan(score_b)) continue;
      const bool hit_a = score_a >= 1.0, hit_b = score_b >= 1.0;
      ++(hit_a ? (hit_b ? count.both : count.a_only) : (hit_b ? count.b_only : count.neither));
      if (score_a > score_b) ++count.a_better;
      if (score_b > score_a) ++count.b_better;
      ++count.trials;
      sum += score_a - score_b;
      sum_of_squares += (score_a - score_b) * (score_a - score_b);
    }
  }

  PairedStatistics finish() {
    count.sign_test_p = sign_test(count.a_better, count.b_better);
    if (count.trials == 0) return count;
    const auto n = static_cast<double>(count.trials);
    count.mean_difference = sum / n;
    if (count.trials < 2) return count;
    // Scores lie in 0..1, so the one-pass variance is good to about 1e-15.
    const double variance = std::max(0.0, (sum_of_squares - sum * sum / n) / (n - 1));
    const double half = student_t_975(count.trials - 1) * std::sqrt(variance / n);
    count.interval = {count.mean_difference - half, count.mean_difference + half};
    return count;
  }
};

}  // namespace

Interval wilson_interval(int64_t hits, int64_t n, double z) {
  if (n < 0 || hits < 0 || hits > n)
    refuse(fmt::format("[wilson_interval] expected 0 <= hits <= n, got {} of {}", hits, n));
  if (n == 0) return {0.0, 1.0};
  const auto count = static_cast<double>(n);
  const double share = static_cast<double>(hits) / count, z2 = z * z;
  const double center = (share + z2 / (2 * count)) / (1 + z2 / count);
  const double half =
      z / (1 + z2 / count) * std::sqrt(share * (1 - share) / count + z2 / (4 * count * count));
  // At the ends the bound is exact; rounding must not push it inside.
  return {hits == 0 ? 0.0 : std::max(0.0, center - half),
          hits == n ? 1.0 : std::min(1.0, center + half)};
}

void RecallCell::add(int trial, double trial_value, double trial_nll_nats) {
  if (trial < 0 || static_cast<size_t>(trial) >= trial_score.size())
    refuse(fmt::format("[RecallCell] expected a trial of 0..{}, got {}",
                       static_cast<int64_t>(trial_score.size()) - 1, trial));
  if (!(trial_value >= 0.0 && trial_value <= 1.0))
    refuse(fmt::format("[RecallCell] expected a score of 0..1, got {}", trial_value));
  if (has(trial)) return;
  trial_score[static_cast<size_t>(trial)] = static_cast<float>(trial_value);
  const auto mean_with = [this](double mean, double value) {
    return trials == 0 ? value : mean + (value - mean) / (trials + 1);
  };
  score = mean_with(score, trial_value);
  nll_nats = mean_with(nll_nats, trial_nll_nats);
  ++trials;
  hits += trial_value >= 1.0 ? 1 : 0;
}

bool RecallCell::has(int trial) const {
  return trial >= 0 && static_cast<size_t>(trial) < trial_score.size() &&
         !std::isnan(trial_score[static_cast<size_t>(trial)]);
}

RecallGrid::RecallGrid(std::vector<int64_t> at_lengths, std::vector<double> at_depths,
                       int trials_per_cell)
    : lengths(std::move(at_lengths)), depths(std::move(at_depths)), trials(trials_per_cell) {
  RecallCell empty;
  empty.trial_score.assign(static_cast<size_t>(std::max(trials, 0)),
                           std::numeric_limits<float>::quiet_NaN());
  cells.assign(lengths.size() * depths.size(), empty);
}

RecallCell& RecallGrid::at(int length_index, int depth_index) {
  return const_cast<RecallCell&>(std::as_const(*this).at(length_index, depth_index));
}

const RecallCell& RecallGrid::at(int length_index, int depth_index) const {
  if (length_index < 0 || static_cast<size_t>(length_index) >= lengths.size() || depth_index < 0 ||
      static_cast<size_t>(depth_index) >= depths.size())
    refuse(fmt::format("[RecallGrid] expected a cell within {} x {}, got ({}, {})", lengths.size(),
                       depths.size(), length_index, depth_index));
  return cells[static_cast<size_t>(length_index) * depths.size() +
               static_cast<size_t>(depth_index)];
}

bool RecallGrid::same_axes(const RecallGrid& other) const {
  return lengths == other.lengths && depths == other.depths;
}

bool RecallGrid::complete() const {
  return std::all_of(cells.begin(), cells.end(),
                     [this](const RecallCell& cell) { return cell.trials >= trials; });
}

int64_t RecallGrid::trials_run() const {
  int64_t sum = 0;
  for (const RecallCell& cell : cells) sum += cell.trials;
  return sum;
}

double RecallGrid::mean_score() const {
  double sum = 0;
  int64_t count = 0;
  for (const RecallCell& cell : cells)
    if (cell.trials > 0) sum += cell.score, ++count;
  return count == 0 ? RecallCell::kMissing : sum / static_cast<double>(count);
}

double RecallGrid::mean_nll_nats() const {
  double sum = 0;
  int64_t count = 0;
  for (const RecallCell& cell : cells)
    if (cell.trials > 0) sum += cell.nll_nats, ++count;
  return count == 0 ? RecallCell::kMissing : sum / static_cast<double>(count);
}

Interval RecallGrid::interval() const {
  int64_t hits = 0;
  for (const RecallCell& cell : cells) hits += cell.hits;
  return wilson_interval(hits, trials_run());
}

RecallGrid::Worst RecallGrid::worst() const {
  Worst worst;
  for (size_t i = 0; i < cells.size(); ++i)
    if (cells[i].trials > 0 && !(cells[i].score >= worst.score))
      worst = {static_cast<int>(i / depths.size()), static_cast<int>(i % depths.size()),
               cells[i].score};
  return worst;
}

RecallGrid merge(const RecallGrid& a, const RecallGrid& b) {
  if (!a.same_axes(b)) refuse("two evaluations to be merged have different lengths or depths");
  RecallGrid merged = a;
  merged.trials = std::max(a.trials, b.trials);
  for (size_t i = 0; i < merged.cells.size(); ++i) {
    const RecallCell& left = a.cells[i];
    const RecallCell& right = b.cells[i];
    RecallCell cell = left.trials >= right.trials ? left : right;
    cell.trial_score.resize(static_cast<size_t>(merged.trials),
                            std::numeric_limits<float>::quiet_NaN());
    bool disjoint = left.trials > 0 && right.trials > 0;
    for (int r = 0; r < merged.trials && disjoint; ++r) disjoint = !(left.has(r) && right.has(r));
    if (disjoint) {
      const RecallCell& other = left.trials >= right.trials ? right : left;
      const double total = cell.trials + other.trials;
      cell.score = (cell.score * cell.trials + other.score * other.trials) / total;
      cell.nll_nats = (cell.nll_nats * cell.trials + other.nll_nats * other.trials) / total;
      cell.trials += other.trials;
      cell.hits += other.hits;
      for (size_t r = 0; r < other.trial_score.size(); ++r)
        if (!std::isnan(other.trial_score[r])) cell.trial_score[r] = other.trial_score[r];
    }
    merged.cells[i] = std::move(cell);
  }
  return merged;
}

PairedStatistics compare(const RecallCell& a, const RecallCell& b) {
  PairedSums sums;
  sums.add(a, b);
  return sums.finish();
}

PairedStatistics compare(const RecallGrid& a, const RecallGrid& b) {
  if (!a.same_axes(b)) refuse("two evaluations to be compared have different lengths or depths");
  PairedSums sums;
  for (size_t i = 0; i < a.cells.size(); ++i) sums.add(a.cells[i], b.cells[i]);
  return sums.finish();
}

double sign_test(int64_t wins, int64_t losses) {
  const int64_t n = wins + losses, fewer = std::min(wins, losses);
  if (n == 0 || 2 * fewer == n) return 1.0;
  // Sum of C(n, i) / 2^n for i <= fewer, in logarithms so that large n neither overflow nor vanish.
  const auto log_choose = [n](int64_t i) {
    return std::lgamma(static_cast<double>(n) + 1) - std::lgamma(static_cast<double>(i) + 1) -
           std::lgamma(static_cast<double>(n - i) + 1);
  };
  double tail = 0;
  for (int64_t i = 0; i <= fewer; ++i)
    tail += std::exp(log_choose(i) - static_cast<double>(n) * std::log(2.0));
  return std::min(1.0, 2 * tail);
}

double student_t_975(int64_t freedom) {
  constexpr double kTable[] = {12.7062047, 4.30265273, 3.18244631, 2.77644511, 2.57058184,
                               2.44691185, 2.36462425, 2.30600414, 2.26215716, 2.22813885};
  if (freedom < 1)
    refuse(fmt::format("[student_t_975] expected at least 1 degree of freedom, got {}", freedom));
  if (freedom <= 10) return kTable[freedom - 1];
  // Cornish-Fisher expansion around the normal quantile.
  const double z = 1.959963984540054, n = static_cast<double>(freedom);
  const double z2 = z * z, z3 = z2 * z, z5 = z3 * z2, z7 = z5 * z2, z9 = z7 * z2;
  return z + (z3 + z) / (4 * n) + (5 * z5 + 16 * z3 + 3 * z) / (96 * n * n) +
         (3 * z7 + 19 * z5 + 17 * z3 - 15 * z) / (384 * n * n * n) +
         (79 * z9 + 776 * z7 + 1482 * z5 - 1920 * z3 - 945 * z) / (92160 * n * n * n * n);
}

}  // namespace flashmorph
