// SPDX-License-Identifier: Apache-2.0
#include "core/select/random_layers.h"

#include "core/load/random.h"
#include "core/select/ranking.h"

namespace flashmorph {

SelectorResult select_random(const SelectorInput& input, Calibration& calibration) {
  Random random = Random(input.seed).fork("select random");
  SelectorResult result;
  for (int l = 0; l < calibration.model().layers(); ++l) result.score.push_back(random.real());
  result.plan = keep_top(result.score, input.budget);
  return result;
}

}  // namespace flashmorph
