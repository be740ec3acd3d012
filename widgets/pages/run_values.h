// SPDX-License-Identifier: GPL-3.0-or-later
// What the pages take out of a run: series for the views, KV size, teacher identity, the truth about
// all plans. Values in, values out.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include <QString>

#include "core/run/run_record.h"
#include "widgets/views/curve_chart.h"
#include "widgets/views/gate_bars.h"
#include "widgets/views/step_series.h"

namespace flashmorph {

/// Gates of a gate run, alignment loss of an align run; no rows: neither.
std::shared_ptr<const StepSeries> layerSeries(const RunRecord& record);
/// The values of the last row; an align run gives its held-out errors where it has them.
std::vector<double> layerValues(const RunRecord& record, const StepSeries& series);
/// Side plots: loss, penalty, mean gate (or learning rate), error per layer.
std::vector<CurveChartData> sideCurves(const RunRecord& record, const StepSeries& series);

/// Bytes of keys and values per token of a plan; nothing if the model's sizes are unknown.
std::optional<double> kvBytesPerToken(const RunRecord& record, int fullLayers);
/// "gap below which a cut is close": 0.02 for gates, else 2 % of the range of the scores.
double closeBand(const RunRecord& record, const std::vector<double>& score);
/// What tells teachers apart; empty: not recorded.
QString teacherId(const RunRecord& record);
/// Tokens the teacher was trained for (max_position); 0: unknown.
int64_t trainedLength(const RunRecord& record);
/// K to start with: that of the run's own plan, else 3:1.
int startBudget(const RunRecord& record);
/// "12 to 18, 3 swapped for 4": how `to` differs from `from`, as "-12 +0"; empty: equal.
QString swapText(const LayerPlan& from, const LayerPlan& to);
/// Layers in which the plans differ.
int planDistance(const LayerPlan& a, const LayerPlan& b);

/// The truth table of a small model (format flashmorph-plan-truth), as far as a rank needs it.
class TruthTable {
 public:
  /// Nothing if it is no finished table of this teacher.
  static std::shared_ptr<const TruthTable> read(const QString& path, const QString& teacher, int layers);
  /// Where the run or the installation has one; empty: none.
  static std::shared_ptr<const TruthTable> find(const RunRecord& record);

  struct Rank {
    int rank = 0, plans = 0;
    double nll_nats = 0, recall = 0, regret_nats = 0;
    LayerPlan best;
  };
  std::optional<Rank> rankOf(const LayerPlan& plan) const;

 private:
  struct Row {
    double nll_nats, recall;
  };
  std::map<LayerPlan, Row> m_rows;
};

}  // namespace flashmorph
