// SPDX-License-Identifier: Apache-2.0
#include "core/select/uniform.h"

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

SelectorResult select_uniform(const SelectorInput& input, Calibration& calibration) {
  const int L = calibration.model().layers(), K = input.budget;
  SelectorResult result;
  result.score.assign(static_cast<size_t>(L), 0.0);
  std::vector<int> full;
  for (int i = 0; i < K; ++i) {
    const int64_t layer = int64_t{i} * L / K + input.offset;
    if (layer < 0 || layer >= L)
      throw Error("select", ErrorCode::bad_request,
                  fmt::format("uniform: offset {} moves layer {} out of 0..{}", input.offset,
                              layer - input.offset, L - 1),
                  fmt::format("give an offset of 0 to {}", L - 1 - int64_t{K - 1} * L / K));
    full.push_back(static_cast<int>(layer));
    result.score[static_cast<size_t>(layer)] = 1.0;
  }
  result.plan = LayerPlan::of(L, std::move(full));
  return result;
}

}  // namespace flashmorph
