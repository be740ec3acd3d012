// SPDX-License-Identifier: GPL-3.0-or-later
// Thinning by min and max: one pass over the rows, so that a peak of one step stays visible.
#include "widgets/views/step_series.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace flashmorph {

StepRange StepSeries::clipped(StepRange range) const {
  if (step.empty()) return {};
  const auto first = static_cast<double>(step.front()), last = static_cast<double>(step.back());
  if (range.isAll()) return {first, last};
  return {std::max(range.first, first), std::min(range.last, last)};
}

ThinnedSeries thinToColumns(const StepSeries& series, StepRange range, int columns) {
  ThinnedSeries out;
  out.layers = series.layers;
  if (series.rows() == 0 || columns < 1 || series.layers < 1) return out;
  const StepRange shown = series.clipped(range);
  const double span = std::max(shown.last - shown.first, 1e-9);
  const auto L = static_cast<size_t>(series.layers);
  constexpr float kNone = std::numeric_limits<float>::quiet_NaN();
  std::vector<int> counts;
  size_t row = static_cast<size_t>(std::lower_bound(series.step.begin(), series.step.end(), static_cast<int64_t>(std::ceil(shown.first))) -
                                   series.step.begin());
  for (; row < series.rows() && static_cast<double>(series.step[row]) <= shown.last; ++row) {
    const double part = (static_cast<double>(series.step[row]) - shown.first) / span;
    const int column = std::clamp(static_cast<int>(part * columns), 0, columns - 1);
    if (out.column.empty() || out.column.back() != column) {
      out.column.push_back(column);
      out.low.resize(out.low.size() + L, kNone);
      out.high.resize(out.high.size() + L, kNone);
      out.mean.resize(out.mean.size() + L, 0.0F);
      counts.assign(L, 0);
    }
    const float* values = series.value.data() + row * L;
    float* low = out.low.data() + out.low.size() - L;
    float* high = out.high.data() + out.high.size() - L;
    float* mean = out.mean.data() + out.mean.size() - L;
    for (size_t l = 0; l < L; ++l) {
      const float v = values[l];
      if (!std::isfinite(v)) continue;
      low[l] = std::isnan(low[l]) ? v : std::min(low[l], v);
      high[l] = std::isnan(high[l]) ? v : std::max(high[l], v);
      mean[l] += (v - mean[l]) / static_cast<float>(++counts[l]);
    }
  }
  for (size_t i = 0; i < out.mean.size(); ++i)
    if (std::isnan(out.low[i])) out.mean[i] = kNone;
  return out;
}

}  // namespace flashmorph
