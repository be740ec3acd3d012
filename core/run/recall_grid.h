// SPDX-License-Identifier: Apache-2.0
// Recall over length and depth of one plan: cells with their trials, intervals, and paired
// statistics between two grids.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace flashmorph {

struct Interval {
  double low = 0, high = 0;
};

/// Wilson score interval of a share of hits in n prompts, z = 1.96 for 95 %. n = 0 gives [0, 1].
Interval wilson_interval(int64_t hits, int64_t n, double z = 1.959963984540054);

/// One (length, depth): totals over the trials run so far.
struct RecallCell {
  int trials = 0;           ///< prompts run
  int hits = 0;             ///< prompts with every answer token right
  double score = kMissing;  ///< mean share of answer tokens right, 0..1; NaN without trials
  double nll_nats =
      kMissing;  ///< mean negative log-likelihood per answer token, nat/token; NaN without trials
  std::vector<float> trial_score;  ///< [R] score of each trial, NaN: not run

  static constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

  /// Adds the outcome of trial `trial` (0-based); a trial already there is left as it is. score 1
  /// is a hit. Throws Error(bad_request) for a trial outside 0..R-1 or a score outside 0..1.
  void add(int trial, double trial_value, double trial_nll_nats);
  /// Whether trial `trial` has been run.
  bool has(int trial) const;
  Interval interval() const { return wilson_interval(hits, trials); }
};

/// N lengths x D depths of cells with R trials each: row = length index, column = depth index.
struct RecallGrid {
  std::vector<int64_t> lengths;   ///< [N] tokens
  std::vector<double> depths;     ///< [D] in 0..1
  int trials = 0;                 ///< R wanted per cell
  std::vector<RecallCell> cells;  ///< [N, D]

  RecallGrid() = default;
  RecallGrid(std::vector<int64_t> at_lengths, std::vector<double> at_depths, int trials_per_cell);

  RecallCell& at(int length_index, int depth_index);
  const RecallCell& at(int length_index, int depth_index) const;
  bool same_axes(const RecallGrid& other) const;

  bool complete() const;  ///< every cell has R trials
  int64_t trials_run() const;
  /// Mean of the cell scores over cells with trials, each cell weighing the same; NaN if there is
  /// none.
  double mean_score() const;
  /// Mean of the NLL over cells with trials, nat/token.
  double mean_nll_nats() const;
  /// Wilson interval of all hits in all prompts.
  Interval interval() const;
  /// Lowest cell score, and where; index -1 if there is none.
  struct Worst {
    int length_index = -1, depth_index = -1;
    double score = RecallCell::kMissing;
  };
  Worst worst() const;
};

/// Joins what two partial evaluations of the same plan know. Per cell: disjoint trials are added
/// up; otherwise the cell with more trials stays (trials are run in a fixed order, so it holds the
/// other's). Throws Error(bad_request) if the axes differ.
RecallGrid merge(const RecallGrid& a, const RecallGrid& b);

/// A against B over the trials both have run (the same trial is the same prompt).
struct PairedStatistics {
  int64_t trials = 0;                             ///< common trials
  double mean_difference = RecallCell::kMissing;  ///< mean of score_A - score_B
  Interval interval{
      RecallCell::kMissing,
      RecallCell::kMissing};  ///< 95 %, Student's t on the differences; NaN below 2 trials
  int64_t a_only = 0, b_only = 0, both = 0, neither = 0;  ///< hits
  int64_t a_better = 0, b_better = 0;  ///< trials with score_A > score_B, and the other way
  double sign_test_p =
      1.0;  ///< two-sided exact sign test of a_better against b_better; 1 without differences
};

/// Of one cell; the sizes of trial_score may differ.
PairedStatistics compare(const RecallCell& a, const RecallCell& b);
/// Of all common trials of all cells. Throws Error(bad_request) if the axes differ.
PairedStatistics compare(const RecallGrid& a, const RecallGrid& b);

/// Two-sided exact sign test: probability of a split at least as uneven as (wins, losses) under p =
/// 1/2.
double sign_test(int64_t wins, int64_t losses);
/// 97.5 % quantile of Student's t with `freedom` >= 1 degrees of freedom (error below 1e-3
/// relative).
double student_t_975(int64_t freedom);

}  // namespace flashmorph
