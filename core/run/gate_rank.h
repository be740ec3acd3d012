// SPDX-License-Identifier: Apache-2.0
// From the gates over the steps so far to one score per layer, and the known ills of a gate
// training in words.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace flashmorph {

/// The gates of a run, one row per recorded step. Rows may be thinned; steps rise.
struct GateHistory {
  int layers = 0;             ///< L
  std::vector<int64_t> step;  ///< [S], 1-based, after the update
  std::vector<float> alpha;   ///< [S, L] in [0, 1], after clamping
  std::vector<float> raw;     ///< [S, L] before clamping (sigmoid: the logit)

  size_t rows() const { return step.size(); }
  void add(int64_t at_step, const std::vector<double>& row_alpha,
           const std::vector<double>& row_raw);
};

/// What budget_solver takes: higher score = keep; equal scores are decided by tie_break, then by
/// the lower index.
struct GateScore {
  std::vector<double> score;              ///< [L], time average of alpha over the window
  std::vector<double> tie_break;          ///< [L], last value before clamping
  int64_t first_step = 0, last_step = 0;  ///< the window, both included; 0, 0 without rows
};

/// Share of the steps so far that the score averages over (method 3.2).
constexpr double kScoreWindow = 0.2;

/// score_l = mean of alpha_l over the steps s with s > (1 - window) * last_step; a row stands for
/// the steps since the row before it, so thinned rows give the same average up to the thinning.
/// rows: how many rows to use, from the first; default all. Throws Error(bad_request) when the
/// sizes of the history disagree.
GateScore rank_gates(const GateHistory& history, double window = kScoreWindow,
                     size_t rows = SIZE_MAX);

/// Layers from best to worst: score, then tie_break, then lower index; NaN sorts last. tie_break
/// may be empty.
std::vector<int> rank_order(const std::vector<double>& score, const std::vector<double>& tie_break);

enum class GateNoticeKind {
  all_full,         ///< every gate still 1 after a fifth of the steps: the penalty is too small
  all_linear,       ///< every gate 0: the penalty is too large
  order_unchanged,  ///< the order of the layers is the same for 20 % of the steps: may stop
  kept_unchanged,   ///< the K best are the same set for 20 % of the steps, though the order within
                    ///< moves
  non_finite,       ///< a gate is not a number: the job fails
};

struct GateNotice {
  GateNoticeKind kind;
  std::string message;  ///< one sentence: what, where, next step
  int64_t step = 0;     ///< at which it was seen
  int layer = -1;       ///< non_finite: the first such layer
};

/// Everything worth saying about the history now, worst first. total_steps: planned steps S.
/// budget: K; order and kept set count as settled only while the scores at this cut stand 0.1 apart.
/// 0: no cut, and kept_unchanged is left out.
std::vector<GateNotice> gate_notices(const GateHistory& history, int64_t total_steps,
                                     int budget = 0);

}  // namespace flashmorph
