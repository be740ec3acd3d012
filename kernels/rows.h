// SPDX-License-Identifier: Apache-2.0
// Sums over a row of numbers in independent lanes: vectorizes without reordering that depends on
// compiler flags.
#pragma once

#include <cstdint>

namespace flashmorph::kernels {

/// sum of term(i) for i in [0, n), in sixteen lanes of type Sum.
template <typename Sum, typename Term>
Sum sum_lanes(int64_t n, const Term& term) {
  constexpr int64_t width = 16;
  Sum lanes[width] = {};
  int64_t i = 0;
  for (; i + width <= n; i += width)
    for (int64_t lane = 0; lane < width; ++lane) lanes[lane] += term(i + lane);
  for (; i < n; ++i) lanes[i % width] += term(i);
  Sum total = 0;
  for (const Sum lane : lanes) total += lane;
  return total;
}

}  // namespace flashmorph::kernels
