// SPDX-License-Identifier: GPL-3.0-or-later
// Round ticks.
#include "widgets/views/axis.h"

#include <algorithm>
#include <cmath>

namespace flashmorph {

std::vector<double> roundTicks(double low, double high, int wanted) {
  if (!(high > low) || !std::isfinite(low) || !std::isfinite(high) || wanted < 1) return {};
  const double rough = (high - low) / wanted, power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = power;
  for (const double factor : {1.0, 2.0, 5.0, 10.0}) {
    step = factor * power;
    if (step >= rough * 0.999) break;
  }
  std::vector<double> ticks;
  for (double at = std::ceil(low / step - 1e-9); at * step <= high + step * 1e-9; ++at) ticks.push_back(at * step);
  return ticks;
}

}  // namespace flashmorph
