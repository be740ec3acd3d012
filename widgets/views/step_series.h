// SPDX-License-Identifier: GPL-3.0-or-later
// One value per layer and step (gates, or errors of an align run), and its thinning to pixel columns.
#pragma once

#include <cstdint>
#include <vector>

#include <QString>

#include "widgets/views/axis.h"

namespace flashmorph {

struct StepSeries {
  int layers = 0;
  std::vector<int64_t> step;  ///< [S], rising
  std::vector<float> value;   ///< [S, L]
  QString quantity = QStringLiteral("gate");
  double low = 0, high = 1;   ///< range of the color scale and of the y axis

  size_t rows() const { return step.size(); }
  float at(size_t row, int layer) const { return value[row * static_cast<size_t>(layers) + static_cast<size_t>(layer)]; }
  /// The range asked for, cut to the steps there are; {first, last} of all steps if it is empty.
  StepRange clipped(StepRange range) const;
};

/// Per pixel column and layer the lowest and highest value; columns without a row are not listed.
struct ThinnedSeries {
  int layers = 0;
  std::vector<int> column;        ///< [C], rising, 0..columns-1
  std::vector<float> low, high, mean;  ///< [C, L]; NaN where every value is
};
ThinnedSeries thinToColumns(const StepSeries& series, StepRange range, int columns);

}  // namespace flashmorph
