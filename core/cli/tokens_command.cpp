// SPDX-License-Identifier: Apache-2.0
// flashmorph tokens: the tokenizer from the outside, so that anyone can check it against other software.
#include <iostream>
#include <iterator>
#include <memory>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/cli/program.h"
#include "core/load/tokenizer.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

TokenIds parse_ids(const std::string& text) {
  TokenIds ids;
  for (size_t at = 0; at < text.size();) {
    const char c = text[at];
    if (c == ' ' || c == ',' || c == '\n' || c == '\r' || c == '\t' || c == '[' || c == ']') {
      ++at;
      continue;
    }
    size_t end = at;
    int64_t value = 0;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9' && end - at < 12) value = value * 10 + (text[end++] - '0');
    if (end == at || end - at >= 12)
      throw Error("load", ErrorCode::bad_request, fmt::format("stdin: expected a token id at byte {}", at + 1),
                  "give decimal ids separated by blanks or commas");
    ids.push_back(value);
    at = end;
  }
  return ids;
}

struct Flags {
  std::string model;
  bool decode = false, specials_as_text = false;
};

}  // namespace

CommandBody add_tokens_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("MODEL", flags->model, "Model directory or .gguf file")->required();
  app.add_flag("--decode", flags->decode, "Ids on stdin, text out");
  app.add_flag("--specials-as-text", flags->specials_as_text, "Special tokens in the text are plain text");
  app.footer("Example: printf 'Hello' | flashmorph tokens MODEL");
  return [flags](CommandContext& context) {
    const Tokenizer tokenizer = Tokenizer::load(flags->model);
    const std::string text((std::istreambuf_iterator<char>(std::cin)), std::istreambuf_iterator<char>());
    if (flags->decode) {
      const TokenIds ids = parse_ids(text);
      const std::string decoded = tokenizer.decode(ids);
      if (context.console.json())
        fmt::print("{}\n", nlohmann::json{{"ids", ids}, {"text", decoded}}.dump());
      else
        std::fwrite(decoded.data(), 1, decoded.size(), stdout);
      return 0;
    }
    const TokenIds ids = tokenizer.encode(text, {.specials_as_text = flags->specials_as_text});
    if (context.console.json())
      fmt::print("{}\n", nlohmann::json{{"ids", ids}}.dump());
    else
      fmt::print("{}\n", fmt::join(ids, " "));
    return 0;
  };
}

}  // namespace flashmorph
