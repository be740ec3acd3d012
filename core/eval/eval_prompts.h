// SPDX-License-Identifier: Apache-2.0
// An eval set's prompts: trial r of cell (n, d) is one prompt, the same for every plan (method 6).
#pragma once

#include <memory>

#include "core/load/needle_data.h"
#include "core/load/passkey_data.h"
#include "core/run/eval_set.h"

namespace flashmorph {

class EvalPrompts {
 public:
  /// Borrows the background. Passkeys are made small enough for the shortest length
  /// (PasskeyOptions::for_length), so that every length asks the same. set.strings, each a text,
  /// may replace
  ///   passkey: open, needle, separator, close, question, words (blank-separated), passkeys,
  ///   passkey_words (decimal numbers); needle:  prompt, needle, question, stub, kind.
  /// Throws Error(bad_request) naming an unknown task or string, or when the shortest length leaves
  /// no background.
  EvalPrompts(const Tokenizer& tokenizer, const TextSource& background, const EvalSet& set);

  /// Trial `trial` at lengths[length_index], depths[depth_index]: exactly that many tokens.
  Sample prompt(int length_index, int depth_index, int trial) const;

  const EvalSet& set() const { return set_; }

 private:
  EvalSet set_;
  std::unique_ptr<PasskeyData> passkeys_;  // one of the two
  std::unique_ptr<NeedleData> needles_;
};

}  // namespace flashmorph
