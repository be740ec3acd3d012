// SPDX-License-Identifier: Apache-2.0
// Draws of multi-query associative recall.
#include "core/load/mqar_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/run/error.h"

namespace flashmorph {
namespace {

// `count` distinct slots of [0, n), drawn one after the other with probability proportional to
// (g+1)^(power-1) among those left: the smallest of exponential clocks with these rates ring in
// exactly that order.
std::vector<int64_t> draw_slots(Random& random, int64_t n, int64_t count, double power) {
  std::vector<std::pair<double, int64_t>> clocks;
  clocks.reserve(static_cast<size_t>(n));
  for (int64_t g = 0; g < n; ++g)
    clocks.emplace_back(
        -std::log1p(-random.real()) * std::pow(static_cast<double>(g + 1), 1 - power), g);
  std::partial_sort(clocks.begin(), clocks.begin() + count, clocks.end());
  std::vector<int64_t> slots;
  for (int64_t i = 0; i < count; ++i) slots.push_back(clocks[static_cast<size_t>(i)].second);
  return slots;
}

}  // namespace

MqarData::MqarData(MqarOptions options, uint64_t seed) : options_(options), random_(seed) {
  auto refuse = [](const std::string& message) {
    throw Error("load", ErrorCode::bad_request, "associative recall: " + message);
  };
  if (options.length < 4 || options.length % 2 || options.length > (1 << 24))
    refuse(fmt::format("length {}, expected an even number from 4 to {}", options.length, 1 << 24));
  if (options.pairs < 1 || 4 * options.pairs > options.length)
    refuse(fmt::format("{} pairs, expected 1 to a quarter of length {}", options.pairs,
                       options.length));
  if (options.vocabulary > (int64_t{1} << 31) || options.vocabulary / 2 - 1 < options.pairs)
    refuse(fmt::format("vocabulary {} has too few keys for {} pairs", options.vocabulary,
                       options.pairs));
  if (!(std::isfinite(options.power) && options.power > 0))
    refuse(fmt::format("power {}, expected a number above 0", options.power));
}

MqarSample MqarData::sample(uint64_t index) const {
  Random random = random_.fork("mqar", index);
  const int64_t half = options_.vocabulary / 2, pairs = options_.pairs;
  const auto keys = random.sample_without_replacement(static_cast<uint64_t>(half - 1),
                                                      static_cast<uint64_t>(pairs));
  const auto values = random.sample_without_replacement(
      static_cast<uint64_t>(options_.vocabulary - half), static_cast<uint64_t>(pairs));
  MqarSample out;
  out.ids.resize(static_cast<size_t>(options_.length));
  for (auto& id : out.ids)
    id = static_cast<int64_t>(random.uniform(static_cast<uint64_t>(options_.vocabulary)));
  const auto slots = draw_slots(random, (options_.length - 2 * pairs) / 2, pairs, options_.power);
  std::vector<std::pair<int64_t, int64_t>> asked;  // position, value
  for (int64_t i = 0; i < pairs; ++i) {
    const auto key = 1 + static_cast<int64_t>(keys[static_cast<size_t>(i)]);
    const auto value = half + static_cast<int64_t>(values[static_cast<size_t>(i)]);
    const int64_t position = 2 * pairs + 2 * slots[static_cast<size_t>(i)];
    out.ids[static_cast<size_t>(2 * i)] = key;
    out.ids[static_cast<size_t>(2 * i + 1)] = value;
    out.ids[static_cast<size_t>(position)] = key;
    asked.emplace_back(position, value);
  }
  std::sort(asked.begin(), asked.end());
  for (const auto& [position, value] : asked) {
    out.queries.push_back(position);
    out.targets.push_back(value);
  }
  return out;
}

}  // namespace flashmorph
