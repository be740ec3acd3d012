// SPDX-License-Identifier: Apache-2.0
// flashmorph corpus story | passkeys: text made by the engine, for those who have none.
#include <algorithm>
#include <iostream>
#include <memory>

#include <fmt/format.h>

#include "core/cli/program.h"
#include "core/load/passkey_data.h"
#include "core/load/story.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {
struct Flags {
  uint64_t seed = 1;
  int64_t tokens = 100000;
  std::string model;
  int64_t length = 512;
  int passkeys = 3, passkey_words = 4;
};

// Passkey samples as text, one a paragraph: what a branch must imitate is not stories alone.
int64_t write_passkeys(std::ostream& out, const Tokenizer& tokenizer, const Flags& flags) {
  const StoryCorpus background(tokenizer, flags.seed);
  PasskeyOptions options;
  options.min_length = std::max<int64_t>(flags.length / 2, 16);
  options.max_length = flags.length;
  options.passkeys = flags.passkeys;
  options.passkey_words = flags.passkey_words;
  const PasskeyData data(tokenizer, options, background, flags.seed);
  int64_t written = 0;
  for (uint64_t index = 0; written < flags.tokens; ++index) {
    const Sample sample = data.sample(index);
    out << tokenizer.decode(sample.ids) << "\n\n";
    if (!out) throw Error("load", ErrorCode::disk_full, "the text could not be written", "free some space");
    written += static_cast<int64_t>(sample.ids.size());
  }
  return written;
}
}  // namespace

CommandBody add_corpus_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App* story = app.add_subcommand("story", "Made-up stories in plain English, the text the demo teacher was trained on");
  story->add_option("--seed", flags->seed, "The same seed gives the same text")->capture_default_str();
  story->add_option("--tokens", flags->tokens, "About so many tokens")->capture_default_str()->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  story->add_option("--model", flags->model, "Count tokens of this model's tokenizer; else 4 bytes are one");
  CLI::App* passkeys = app.add_subcommand("passkeys", "Passkey samples in such stories (method 4.1), as text");
  passkeys->add_option("--seed", flags->seed, "The same seed gives the same text")->capture_default_str();
  passkeys->add_option("--tokens", flags->tokens, "About so many tokens")->capture_default_str()->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  passkeys->add_option("--model", flags->model, "Whose tokenizer counts")->required();
  passkeys->add_option("--length", flags->length, "Tokens of the longest sample")->capture_default_str()->check(CLI::Range(32, 1 << 20));
  passkeys->add_option("--passkeys", flags->passkeys, "Passkeys a sample")->capture_default_str();
  passkeys->add_option("--passkey-words", flags->passkey_words, "Words a passkey")->capture_default_str();
  app.require_subcommand(1);
  app.footer("Example: flashmorph corpus story --seed 7 --tokens 1000000 > stories.txt");
  return [flags, passkeys](CommandContext& context) {
    std::optional<Tokenizer> tokenizer;
    if (!flags->model.empty()) tokenizer = Tokenizer::load(flags->model);
    const int64_t written = passkeys->parsed()
                                ? write_passkeys(std::cout, *tokenizer, *flags)
                                : write_stories(std::cout, flags->seed, flags->tokens, tokenizer ? &*tokenizer : nullptr);
    std::cout.flush();
    context.console.note(fmt::format("{} tokens, seed {}", written, flags->seed));
    return 0;
  };
}

}  // namespace flashmorph
