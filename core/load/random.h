// SPDX-License-Identifier: Apache-2.0
// Seeded random numbers that are the same on every platform and compiler: xoshiro256** started by
// SplitMix64.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace flashmorph {

class Random {
 public:
  explicit Random(uint64_t seed);

  /// Next 64 bits (Blackman and Vigna's xoshiro256**).
  uint64_t bits();
  /// Unbiased integer in [0, n). n > 0.
  uint64_t uniform(uint64_t n);
  /// Real number in [0, 1), a multiple of 2^-53.
  double real();
  /// One of the elements. The list must not be empty.
  template <typename List>
  const auto& choose(const List& list) {
    return list[uniform(list.size())];
  }
  /// `count` distinct numbers of [0, n) in random order, every order equally likely. count <= n.
  std::vector<uint64_t> sample_without_replacement(uint64_t n, uint64_t count);
  /// Puts the elements in an order, every order equally likely (Fisher and Yates).
  template <typename T>
  void shuffle(std::vector<T>& list) {
    for (size_t i = list.size(); i > 1; --i) std::swap(list[i - 1], list[uniform(i)]);
  }

  /// A generator of its own for item `index` of the stream `name`: depends on the seed, not on what
  /// was drawn before.
  Random fork(std::string_view name, uint64_t index = 0) const {
    return Random(derive(name, index));
  }
  /// The seed of that generator.
  uint64_t derive(std::string_view name, uint64_t index = 0) const;

  uint64_t seed() const { return seed_; }

 private:
  uint64_t seed_;
  std::array<uint64_t, 4> state_;
};

}  // namespace flashmorph
