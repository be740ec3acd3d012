// SPDX-License-Identifier: Apache-2.0
// Associative recall samples read by a brute-force reader; slots against their distribution.
#include "core/load/mqar_data.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/run/error.h"

namespace flashmorph {
namespace {

class Mqar : public testing::TestWithParam<MqarOptions> {};

TEST_P(Mqar, ABruteForceReaderAnswersEveryQuery) {
  const MqarOptions o = GetParam();
  const MqarData data(o, 9);
  for (uint64_t index = 0; index < 50; ++index) {
    const MqarSample s = data.sample(index);
    ASSERT_EQ(s.ids.size(), static_cast<size_t>(o.length));
    ASSERT_EQ(s.queries.size(), static_cast<size_t>(o.pairs));
    std::set<int64_t> keys, values, places;
    for (int64_t i = 0; i < o.pairs; ++i) {
      keys.insert(s.ids[static_cast<size_t>(2 * i)]);
      values.insert(s.ids[static_cast<size_t>(2 * i + 1)]);
    }
    EXPECT_EQ(keys.size(), s.queries.size());
    EXPECT_EQ(values.size(), s.queries.size());
    EXPECT_GE(*keys.begin(), 1);
    EXPECT_LT(*keys.rbegin(), o.vocabulary / 2);
    EXPECT_GE(*values.begin(), o.vocabulary / 2);
    EXPECT_LT(*values.rbegin(), o.vocabulary);
    for (size_t q = 0; q < s.queries.size(); ++q) {
      const auto at = s.queries[q];
      EXPECT_GE(at, 2 * o.pairs);
      EXPECT_EQ(at % 2, 0);
      places.insert(at);
      keys.erase(s.ids[static_cast<size_t>(at)]);
      int64_t answer = -1;  // look the key up among the pairs
      for (int64_t i = 0; i < o.pairs; ++i)
        if (s.ids[static_cast<size_t>(2 * i)] == s.ids[static_cast<size_t>(at)])
          answer = s.ids[static_cast<size_t>(2 * i + 1)];
      EXPECT_EQ(answer, s.targets[q]);
    }
    EXPECT_EQ(places.size(), s.queries.size());
    EXPECT_TRUE(keys.empty()) << "a key is never asked for";
    for (int64_t id : s.ids) {
      EXPECT_GE(id, 0);
      EXPECT_LT(id, o.vocabulary);
    }
    EXPECT_EQ(s.ids, data.sample(index).ids);
  }
  EXPECT_NE(data.sample(0).ids, data.sample(1).ids);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Mqar,
                         testing::Values(MqarOptions{8192, 256, 16}, MqarOptions{8192, 64, 16},
                                         MqarOptions{8192, 512, 64}, MqarOptions{64, 8, 1},
                                         MqarOptions{10, 16, 4}));

TEST(MqarData, FirstSlotsFollowThePowerLaw) {
  // One pair in eight tokens: three slots with probabilities in proportion (g+1)^-0.99.
  const MqarData data({100, 8, 1}, 1);
  double count[3] = {}, weight[3], sum = 0;
  const int n = 20000;
  for (int i = 0; i < n; ++i) ++count[(data.sample(static_cast<uint64_t>(i)).queries[0] - 2) / 2];
  for (int g = 0; g < 3; ++g) sum += weight[g] = std::pow(g + 1., -0.99);
  for (int g = 0; g < 3; ++g) EXPECT_NEAR(count[g] / n, weight[g] / sum, 0.015) << g;
}

TEST(MqarData, OtherPositionsAreUniformRandomTokens) {
  const MqarData data({16, 64, 2}, 1);
  std::vector<int> count(16);
  int n = 0;
  for (uint64_t i = 0; i < 500; ++i) {
    const auto s = data.sample(i);
    for (int64_t t = 4; t < 64; ++t)
      if (t % 2) ++count[static_cast<size_t>(s.ids[static_cast<size_t>(t)])], ++n;
  }
  for (int c : count) EXPECT_NEAR(c, n / 16., 5 * std::sqrt(n / 16.));
}

TEST(MqarData, RefusesImpossibleSizes) {
  EXPECT_THROW(MqarData({8192, 255, 4}, 0), Error);
  EXPECT_THROW(MqarData({8192, 64, 17}, 0), Error);
  EXPECT_THROW(MqarData({8192, 64, 0}, 0), Error);
  EXPECT_THROW(MqarData({16, 64, 8}, 0), Error);
  EXPECT_THROW(MqarData({8192, 64, 4, 0}, 0), Error);
}

}  // namespace
}  // namespace flashmorph
