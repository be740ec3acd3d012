// SPDX-License-Identifier: Apache-2.0
#include "kernels/decay_slopes.h"

#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace flashmorph::kernels {
namespace {

TEST(LightningSlopes, EqualTheGoldenVector) {
  std::ifstream file(TEST_DATA_DIR "/golden/lightning_slopes.json");
  const auto golden = nlohmann::json::parse(file);
  for (const auto& [heads, decays] : golden.at("log_decay").items()) {
    const auto slopes = lightning_slopes(std::stoll(heads));
    ASSERT_EQ(slopes.size(), decays.size());
    for (size_t h = 0; h < slopes.size(); ++h)
      EXPECT_NEAR(-slopes[h] / decays[h].get<double>(), 1.0, 1e-14)
          << heads << " heads, head " << h;
  }
}

}  // namespace
}  // namespace flashmorph::kernels
