// SPDX-License-Identifier: Apache-2.0
// flashmorph corpus story: text made by the engine, for those who have none.
#include <iostream>
#include <memory>

#include <fmt/format.h>

#include "core/cli/program.h"
#include "core/load/story.h"

namespace flashmorph {

namespace {
struct Flags {
  uint64_t seed = 1;
  int64_t tokens = 100000;
  std::string model;
};
}  // namespace

CommandBody add_corpus_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  CLI::App* story = app.add_subcommand("story", "Made-up stories in plain English, the text the demo teacher was trained on");
  story->add_option("--seed", flags->seed, "The same seed gives the same text")->capture_default_str();
  story->add_option("--tokens", flags->tokens, "About so many tokens")->capture_default_str()->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  story->add_option("--model", flags->model, "Count tokens of this model's tokenizer; else 4 bytes are one");
  app.require_subcommand(1);
  app.footer("Example: flashmorph corpus story --seed 7 --tokens 1000000 > stories.txt");
  return [flags](CommandContext& context) {
    std::optional<Tokenizer> tokenizer;
    if (!flags->model.empty()) tokenizer = Tokenizer::load(flags->model);
    const int64_t written = write_stories(std::cout, flags->seed, flags->tokens, tokenizer ? &*tokenizer : nullptr);
    std::cout.flush();
    context.console.note(fmt::format("{} tokens, seed {}", written, flags->seed));
    return 0;
  };
}

}  // namespace flashmorph
