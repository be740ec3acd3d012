// SPDX-License-Identifier: Apache-2.0
// Where sentences end in a list of tokens, and the prompt around them.
#include "core/load/needle_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/run/error.h"

namespace flashmorph {
namespace {

constexpr std::array<const char*, 32> kAdjectives = {
    "amber",  "brave",   "calm",   "clever", "crisp",  "curious", "dusty", "eager",
    "fancy",  "gentle",  "happy",  "humble", "icy",    "jolly",   "keen",  "lively",
    "mellow", "narrow",  "noble",  "plain",  "proud",  "quick",   "rusty", "shiny",
    "silent", "spotted", "sturdy", "tidy",   "velvet", "warm",    "witty", "young"};
constexpr std::array<const char*, 32> kNouns = {
    "anchor",  "badger", "candle",  "canyon", "cedar",  "comet",  "cricket", "falcon",
    "feather", "garden", "glacier", "hammer", "island", "jacket", "lizard",  "meadow",
    "monkey",  "needle", "orchid",  "otter",  "pebble", "pepper", "piano",   "planet",
    "pocket",  "quarry", "ribbon",  "saddle", "temple", "turtle", "walnut",  "willow"};
constexpr int64_t kLeastContext = 8, kFarthest = 1024;

std::string filled(std::string text, const NeedleOptions& options, const std::string& key,
                   const std::string& value) {
  for (const auto& [name, with] : {std::pair<std::string, const std::string*>{"{n}", &options.kind},
                                   {"{key}", &key},
                                   {"{value}", &value}})
    for (size_t at = text.find(name); at != std::string::npos;
         at = text.find(name, at + with->size()))
      text.replace(at, name.size(), *with);
  return text;
}

bool blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }
bool starts_blank(std::string_view token) { return !token.empty() && blank(token.front()); }
bool ends_blank(std::string_view token) { return !token.empty() && blank(token.back()); }

// A token that ends a sentence: . ! or ? (or their CJK forms), perhaps with closing quotes or
// brackets and blanks.
bool ends_sentence(std::string_view token) {
  while (!token.empty() && (blank(token.back()) || token.back() == '"' || token.back() == '\'' ||
                            token.back() == ')'))
    token.remove_suffix(1);
  for (const std::string_view mark :
       {".", "!", "?", "\xE3\x80\x82", "\xEF\xBC\x81", "\xEF\xBC\x9F"})
    if (token.ends_with(mark)) return true;
  return false;
}

// The boundary nearest to `wanted` (0..n) at which a sentence has ended; the start is one, the end
// only when it is wanted. Text without sentences (none within kFarthest tokens) is cut where it was
// wanted.
int64_t nearest_sentence_end(const Tokenizer& tokenizer, const TokenIds& text, int64_t wanted) {
  const auto n = static_cast<int64_t>(text.size());
  auto is_end = [&](int64_t at) {
    if (at <= 0 || at >= n) return at <= 0 || wanted == n;
    const auto before = tokenizer.bytes_of(text[static_cast<size_t>(at - 1)]),
               after = tokenizer.bytes_of(text[static_cast<size_t>(at)]);
    if (before.empty() || after.empty()) return false;
    if (!ends_sentence(before)) {  // ".", then a line break of its own
      const bool only_blanks = std::all_of(before.begin(), before.end(), blank);
      if (!only_blanks || at < 2 ||
          !ends_sentence(tokenizer.bytes_of(text[static_cast<size_t>(at - 2)])))
        return false;
    }
    return starts_blank(after) != ends_blank(before);
  };
  for (int64_t away = 0; away <= kFarthest; ++away) {
    if (wanted - away >= 0 && is_end(wanted - away)) return wanted - away;
    if (wanted + away <= n && is_end(wanted + away)) return wanted + away;
  }
  return wanted;
}

void append(TokenIds& to, const TokenIds& from) { to.insert(to.end(), from.begin(), from.end()); }

}  // namespace

NeedleData::NeedleData(const Tokenizer& tokenizer, NeedleOptions options,
                       const TextSource& background, uint64_t seed)
    : tokenizer_(tokenizer), options_(std::move(options)), background_(background), random_(seed) {
  for (const auto& [name, text] :
       {std::pair("needle", &options_.needle), std::pair("question", &options_.question)})
    if (text->find("{key}") == std::string::npos)
      throw Error("load", ErrorCode::bad_request,
                  fmt::format("needle task: {} has no {{key}}", name));
  if (options_.needle.find("{value}") == std::string::npos)
    throw Error("load", ErrorCode::bad_request, "needle task: needle has no {value}");
}

Sample NeedleData::recall_sample(int64_t length, double depth, uint64_t trial) const {
  if (!(depth >= 0 && depth <= 1))
    throw Error("load", ErrorCode::bad_request,
                fmt::format("needle task: depth {}, expected 0 to 1", depth));
  if (length < 1 || length > (int64_t{1} << 24))
    throw Error("load", ErrorCode::bad_request,
                fmt::format("needle task: length {}, expected 1 to {}", length, 1 << 24));
  const Random stream = random_.fork("needle", static_cast<uint64_t>(length));
  Random random = stream.fork("trial", trial);
  const std::string key = std::string(random.choose(kAdjectives)) + "-" + random.choose(kNouns);
  const std::string value = std::to_string(1000000 + random.uniform(9000000));
  const std::string needle = filled(options_.needle, options_, key, value);

  TokenIds head;
  const TokenIds added = tokenizer_.encode("", {.add_special = true});
  if (!added.empty() && tokenizer_.bos() == added.front()) head.push_back(added.front());
  append(head, tokenizer_.encode(filled(options_.prompt, options_, key, value) + "\n"));
  const TokenIds tail = tokenizer_.encode(
      filled("\n" + options_.question + options_.stub + " {value}", options_, key, value));
  const TokenIds after_blank = tokenizer_.encode(needle),
                 after_word = tokenizer_.encode(" " + needle), line = tokenizer_.encode("\n");

  const auto fixed = static_cast<int64_t>(head.size() + tail.size());
  const auto budget =
      length - fixed - static_cast<int64_t>(std::min(after_blank.size(), after_word.size()));
  if (budget - 4 < kLeastContext)
    throw Error("load", ErrorCode::bad_request,
                fmt::format("needle task: length {} leaves no context beside {} tokens of prompt, "
                            "needle and question",
                            length, length - budget),
                "Use longer sequences.");
  TokenIds context = background_.take(stream.derive("background"), trial, budget);
  int64_t place =
      nearest_sentence_end(tokenizer_, context, std::llround(depth * static_cast<double>(budget)));

  auto bytes_at = [&](int64_t at) { return tokenizer_.bytes_of(context[static_cast<size_t>(at)]); };
  TokenIds inserted = place > 0 && !ends_blank(bytes_at(place - 1)) ? after_word : after_blank;
  if (place < budget && !starts_blank(bytes_at(place))) append(inserted, line);
  // The exact length: the context ends a few tokens earlier where the needle came out longer.
  const auto kept = length - fixed - static_cast<int64_t>(inserted.size());
  context.resize(static_cast<size_t>(kept));
  place = std::min(place, kept);

  Sample sample;
  sample.length_target = length;
  sample.ids = head;
  sample.ids.insert(sample.ids.end(), context.begin(), context.begin() + place);
  append(sample.ids, inserted);
  sample.ids.insert(sample.ids.end(), context.begin() + place, context.end());
  const auto question = static_cast<int64_t>(sample.ids.size());
  append(sample.ids, tail);
  sample.depths = {static_cast<double>(place) / static_cast<double>(kept)};
  int64_t first = length;
  size_t bytes = 0;
  while (bytes < value.size() && first > question)
    bytes += tokenizer_.bytes_of(sample.ids[static_cast<size_t>(--first)]).size();
  if (bytes < value.size())
    throw Error("load", ErrorCode::unsupported_model,
                "needle task: the tokenizer has no tokens for digits");
  for (int64_t i = question; i < length; ++i) sample.qa.push_back(i);
  for (int64_t i = first; i < length; ++i) sample.answer.push_back(i);
  return sample;
}

}  // namespace flashmorph
