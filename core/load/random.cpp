// SPDX-License-Identifier: Apache-2.0
// SplitMix64, xoshiro256**, and the draws built on them.
#include "core/load/random.h"

#include <bit>
#include <unordered_map>

namespace flashmorph {
namespace {

uint64_t split_mix(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

}  // namespace

Random::Random(uint64_t seed) : seed_(seed) {
  uint64_t state = seed;
  for (auto& word : state_) word = split_mix(state);
}

uint64_t Random::bits() {
  const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = std::rotl(state_[3], 45);
  return result;
}

uint64_t Random::uniform(uint64_t n) {
  const uint64_t tail =
      (0 - n) % n;  // 2^64 mod n: draws below it would make small results likelier
  uint64_t draw = bits();
  while (draw < tail) draw = bits();
  return draw % n;
}

double Random::real() { return static_cast<double>(bits() >> 11) * 0x1.0p-53; }

std::vector<uint64_t> Random::sample_without_replacement(uint64_t n, uint64_t count) {
  // Fisher and Yates on the list 0..n-1, of which only the touched places are stored.
  std::unordered_map<uint64_t, uint64_t> moved;
  auto value = [&](uint64_t i) {
    const auto found = moved.find(i);
    return found == moved.end() ? i : found->second;
  };
  std::vector<uint64_t> out;
  out.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t at = i + uniform(n - i);
    out.push_back(value(at));
    moved[at] = value(i);
  }
  return out;
}

uint64_t Random::derive(std::string_view name, uint64_t index) const {
  uint64_t hash = 0xCBF29CE484222325u;  // FNV-1a of the name
  for (char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  uint64_t state = seed_;
  state = split_mix(state) ^ hash;
  state = split_mix(state) ^ index;
  return split_mix(state);
}

}  // namespace flashmorph
