// SPDX-License-Identifier: Apache-2.0
// One number hidden in prose and asked for at the end: the single needle of the RULER family
// (method 4.3).
#pragma once

#include <cstdint>
#include <string>

#include "core/load/passkey_data.h"

namespace flashmorph {

struct NeedleOptions {
  /// {n} is the kind of value, {key} an adjective-noun pair, {value} a number of seven digits.
  std::string prompt = "The text below hides one {n}. Remember it, a question follows.";
  std::string needle = "The hidden {n} for {key} is: {value}.";
  std::string question = "Which hidden {n} was given for {key} in the text?";
  std::string stub = " The hidden {n} given for {key} in the text is";
  std::string kind = "number";
};

class NeedleData {
 public:
  /// Borrows the background and keeps the tokenizer.
  NeedleData(const Tokenizer& tokenizer, NeedleOptions options, const TextSource& background,
             uint64_t seed);

  /// Exactly `length` tokens: prompt, context, question (a line each), stub, answer. The needle
  /// stands where the share of context tokens before it is nearest to `depth`, moved to the nearest
  /// end of a sentence (0 and 1: start and end); depths[0] is the depth reached. answer: the tokens
  /// of the digits; a blank token before them belongs to the stub. Key, value and background depend
  /// on (length, trial) only. Throws Error(load, bad_request) when length is too small.
  Sample recall_sample(int64_t length, double depth, uint64_t trial) const;

 private:
  Tokenizer tokenizer_;
  NeedleOptions options_;
  const TextSource& background_;
  Random random_;
};

}  // namespace flashmorph
