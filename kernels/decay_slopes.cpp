// SPDX-License-Identifier: Apache-2.0
#include "kernels/decay_slopes.h"

#include <bit>
#include <cmath>

#include <c10/util/Exception.h>

namespace flashmorph::kernels {

std::vector<double> lightning_slopes(int64_t heads) {
  TORCH_CHECK(heads >= 1, "[lightning_slopes] heads: expected at least 1, got ", heads);
  const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(heads)));
  std::vector<double> slopes;
  slopes.reserve(static_cast<size_t>(heads));
  for (int64_t h = 0; h < power; ++h)
    slopes.push_back(std::exp2(-8.0 * static_cast<double>(h + 1) / static_cast<double>(power)));
  for (int64_t j = 0; j < heads - power; ++j)
    slopes.push_back(
        std::exp2(-8.0 * static_cast<double>(2 * j + 1) / static_cast<double>(2 * power)));
  return slopes;
}

}  // namespace flashmorph::kernels
