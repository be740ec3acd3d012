// SPDX-License-Identifier: Apache-2.0
// Data for training tests without files: a byte tokenizer, random text, short passkeys.
#pragma once

#include "core/load/passkey_data.h"
#include "core/load/unicode.h"

namespace flashmorph {

constexpr int64_t kToyVocab = 256;

/// Every byte is a token.
inline Tokenizer toy_tokenizer() {
  TokenizerParts parts;
  for (int byte = 0; byte < kToyVocab; ++byte) {
    const char one = static_cast<char>(byte);
    parts.vocabulary.emplace(spell_bytes(std::string_view(&one, 1)), byte);
  }
  return Tokenizer(std::move(parts), "toy");
}

/// Uniform random lower-case letters, a pure function of (seed, index).
class ToyText : public TextSource {
 public:
  TokenIds take(uint64_t seed, uint64_t index, int64_t tokens) const override {
    Random random = Random(seed).fork("toy", index);
    TokenIds ids;
    for (int64_t i = 0; i < tokens; ++i)
      ids.push_back(static_cast<int64_t>('a' + random.uniform(26)));
    return ids;
  }
  int64_t size() const override { return INT64_MAX; }
  std::string data_sha256() const override { return std::string(64, '0'); }
};

/// One passkey of two letters in 64 to 96 tokens.
inline PasskeyOptions toy_passkey_options() {
  PasskeyOptions options;
  options.open = "<b>";
  options.needle = "key:";
  options.separator = "\n";
  options.close = "</b>\n";
  options.question = "key?";
  options.words = {"a", "b", "c", "d", "e", "f"};
  options.passkeys = 1;
  options.passkey_words = 2;
  options.min_length = 64;
  options.max_length = 96;
  options.length_count = 5;
  return options;
}

struct ToyData {
  ToyText text;
  PasskeyData passkeys;
  explicit ToyData(PasskeyOptions options = toy_passkey_options(), uint64_t seed = 7)
      : passkeys(toy_tokenizer(), std::move(options), text, seed) {}
};

}  // namespace flashmorph
