// SPDX-License-Identifier: Apache-2.0
// Multi-query associative recall: key-value pairs, then the keys again at random places
// (method 4.2).
#pragma once

#include <cstdint>
#include <vector>

#include "core/load/random.h"
#include "core/load/tokenizer.h"

namespace flashmorph {

struct MqarOptions {
  int64_t vocabulary = 8192;  ///< V
  int64_t length = 256;       ///< T, even
  int64_t pairs = 16;         ///< N, with 4N <= T and N < V/2
  double power = 0.01;        ///< a: slot g is drawn with probability proportional to (g+1)^(a-1)
};

struct MqarSample {
  TokenIds ids;                  ///< [T]
  std::vector<int64_t> queries;  ///< [N] positions where a key is asked for, ascending
  TokenIds targets;              ///< [N] the values, which the model must predict there
};

class MqarData {
 public:
  /// Throws Error(load, bad_request) naming the option that is impossible.
  MqarData(MqarOptions options, uint64_t seed);

  /// Sample `index`; a pure function of options, seed and index.
  MqarSample sample(uint64_t index) const;

 private:
  MqarOptions options_;
  Random random_;
};

}  // namespace flashmorph
