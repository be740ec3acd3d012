// SPDX-License-Identifier: GPL-3.0-or-later
// Axes: round ticks and the mapping of a range to pixels.
#pragma once

#include <vector>

namespace flashmorph {

/// Round values (1, 2, 5 times a power of ten) inside [low, high], about `wanted` of them.
std::vector<double> roundTicks(double low, double high, int wanted);

/// Steps shown by strip and lines alike. Empty (last <= first): everything.
struct StepRange {
  double first = 0, last = 0;
  bool isAll() const { return last <= first; }
  bool operator==(const StepRange&) const = default;
};

}  // namespace flashmorph
