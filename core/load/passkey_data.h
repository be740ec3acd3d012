// SPDX-License-Identifier: Apache-2.0
// Passkey samples: words hidden in a long text, all recited in order at its end (method 4.1).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/load/corpus.h"
#include "core/load/random.h"
#include "core/load/tokenizer.h"

namespace flashmorph {

/// The 26 NATO words, alpha to zulu.
const std::vector<std::string>& nato_words();

struct PasskeyOptions {
  /// Starts with <|im_start|>; a vocabulary without it gets its bos instead, or nothing.
  std::string open = "<|im_start|> Here is the text of a very long book: <book> ";
  /// {ord} is first, second, ... twentieth.
  std::string needle = "Keep this list of words in mind, it is the {ord} passkey to the vault: ";
  std::string separator = "\n\n";
  std::string close = " </book>.\n\n";
  std::string question =
      "According to the book, what is the {ord} passkey to the vault?\nPasskey: ";
  std::vector<std::string> words = nato_words();
  int passkeys = 10;
  int passkey_words = 32;
  int64_t min_length = 1000,
          max_length = 16000;  ///< targets; no sequence is longer than max_length
  int length_count = 50;       ///< evenly spaced targets, each once per epoch in random order
  int depth_count = 1000;      ///< evenly spaced candidate depths
  double depth_low = 0.05, depth_high = 0.95;
  int pad_multiple = 16;
  std::string position =
      "input";  ///< or "predict": measure one earlier, at the state that must produce the token
  bool fresh_background = true;  ///< false: one text for all samples, as DuoAttention
  /// Tokens kept free below max_length; -1: 300, or max_length/8 where that is less (toys).
  int64_t reserve = -1;

  /// The defaults, made smaller until they fit: at most max_length/2 tokens besides the background,
  /// lengths from max_length/4 (at most 1000) on. Throws Error(load, bad_request) when not even one
  /// passkey of two words fits.
  static PasskeyOptions for_length(const Tokenizer& tokenizer, int64_t max_length);
};

struct Sample {
  TokenIds ids;
  std::vector<int64_t> answer;  ///< positions of the answer tokens in ids
  std::vector<int64_t> qa;      ///< positions of the whole tail: questions, answers, separators
  std::vector<double> depths;   ///< of the needles, share of the background before them
  int64_t length_target = 0;

  /// Positions where stage 2 measures: `tokens` (answer or qa), or each one earlier for position
  /// "predict".
  static std::vector<int64_t> measured(const std::vector<int64_t>& tokens,
                                       const std::string& position);
};

/// Each piece is encoded for itself: opening, separator, closing as they are, needle and question
/// without trailing blanks, each word with one blank before it. Byte-level BPE cuts there anyway,
/// so that is the natural text.
class PasskeyData {
 public:
  /// Borrows the background. Throws Error(load, bad_request) for impossible options: naming the
  /// field, or when the tokens besides the background exceed max_length/2.
  PasskeyData(const Tokenizer& tokenizer, PasskeyOptions options, const TextSource& background,
              uint64_t seed);

  /// Sample `index` of the stream (method 4.1); a pure function of options, seed and index, so a
  /// run can be resumed.
  Sample sample(uint64_t index) const;

  /// Evaluation (method 6): exactly `length` tokens, all needles starting at `depth` in [0, 1] of
  /// the background. Words and background depend on (length, trial) only, so cells of one length
  /// are paired over depths and methods. Throws Error(load, bad_request) when the length leaves no
  /// background.
  Sample recall_sample(int64_t length, double depth, uint64_t trial) const;

  /// Largest possible number of tokens besides the background.
  int64_t overhead() const { return overhead_; }
  const PasskeyOptions& options() const { return options_; }

 private:
  struct Keys;
  Keys draw(Random random) const;
  Sample assemble(const Keys& keys, const TokenIds& haystack, const std::vector<int64_t>& places,
                  int64_t pad) const;

  PasskeyOptions options_;
  const TextSource& background_;
  Random random_;
  TokenIds open_, separator_, close_;
  std::vector<TokenIds> needle_, question_, words_;
  int64_t overhead_ = 0;
};

}  // namespace flashmorph
