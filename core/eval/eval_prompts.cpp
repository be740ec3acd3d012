// SPDX-License-Identifier: Apache-2.0
#include "core/eval/eval_prompts.h"

#include <algorithm>
#include <charconv>
#include <sstream>

#include <fmt/format.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

[[noreturn]] void refuse(const std::string& what, const std::string& hint) {
  throw Error("eval", ErrorCode::bad_request, what, hint);
}

int number(const std::string& name, const std::string& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 1)
    refuse(fmt::format("strings.{} is \"{}\"", name, text.substr(0, 20)),
           "give a positive whole number");
  return value;
}

PasskeyOptions passkey_options(const Tokenizer& tokenizer, const EvalSet& set) {
  PasskeyOptions options = PasskeyOptions::for_length(tokenizer, set.lengths.front());
  for (const auto& [name, value] : set.strings.items()) {
    const auto text = value.get<std::string>();
    if (name == "open")
      options.open = text;
    else if (name == "needle")
      options.needle = text;
    else if (name == "separator")
      options.separator = text;
    else if (name == "close")
      options.close = text;
    else if (name == "question")
      options.question = text;
    else if (name == "passkeys")
      options.passkeys = number(name, text);
    else if (name == "passkey_words")
      options.passkey_words = number(name, text);
    else if (name == "words") {
      std::istringstream words(text);
      options.words.clear();
      for (std::string word; words >> word;) options.words.push_back(word);
      if (options.words.empty())
        refuse("strings.words holds no word", "give words separated by blanks");
    } else
      refuse(
          fmt::format("a passkey task has no string \"{}\"", name.substr(0, 40)),
          "strings are open, needle, separator, close, question, words, passkeys, passkey_words");
  }
  return options;
}

NeedleOptions needle_options(const EvalSet& set) {
  NeedleOptions options;
  for (const auto& [name, value] : set.strings.items()) {
    const auto text = value.get<std::string>();
    if (name == "prompt")
      options.prompt = text;
    else if (name == "needle")
      options.needle = text;
    else if (name == "question")
      options.question = text;
    else if (name == "stub")
      options.stub = text;
    else if (name == "kind")
      options.kind = text;
    else
      refuse(fmt::format("a needle task has no string \"{}\"", name.substr(0, 40)),
             "strings are prompt, needle, question, stub, kind");
  }
  return options;
}

}  // namespace

EvalPrompts::EvalPrompts(const Tokenizer& tokenizer, const TextSource& background,
                         const EvalSet& set)
    : set_(set) {
  if (set_.lengths.empty() || set_.depths.empty() || set_.trials < 1)
    refuse("the eval set has no cells", "give lengths, depths and trials");
  if (set_.task == "passkey")
    passkeys_ = std::make_unique<PasskeyData>(tokenizer, passkey_options(tokenizer, set_),
                                              background, set_.seed);
  else if (set_.task == "needle")
    needles_ = std::make_unique<NeedleData>(tokenizer, needle_options(set_), background, set_.seed);
  else
    refuse(fmt::format("there is no task \"{}\"", set_.task.substr(0, 40)),
           "tasks are passkey and needle");
}

Sample EvalPrompts::prompt(int length_index, int depth_index, int trial) const {
  const int64_t length = set_.lengths.at(static_cast<size_t>(length_index));
  const double depth = set_.depths.at(static_cast<size_t>(depth_index));
  return passkeys_ ? passkeys_->recall_sample(length, depth, static_cast<uint64_t>(trial))
                   : needles_->recall_sample(length, depth, static_cast<uint64_t>(trial));
}

}  // namespace flashmorph
