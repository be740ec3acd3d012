// SPDX-License-Identifier: Apache-2.0
// Lengths, depths, words and their places in a sample.
#include "core/load/passkey_data.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "core/load/text.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

constexpr std::array<const char*, 20> kOrdinals = {
    "first",     "second",    "third",       "fourth",     "fifth",      "sixth",      "seventh",
    "eighth",    "ninth",     "tenth",       "eleventh",   "twelfth",    "thirteenth", "fourteenth",
    "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth"};
constexpr int64_t kMaxLength = int64_t{1} << 24;
constexpr int64_t kLeastHaystack = 8;

[[noreturn]] void refuse(const std::string& message, const std::string& hint = {}) {
  throw Error("load", ErrorCode::bad_request, "passkeys: " + message, hint);
}

void append(TokenIds& to, const TokenIds& from) { to.insert(to.end(), from.begin(), from.end()); }

int64_t length(const TokenIds& ids) { return static_cast<int64_t>(ids.size()); }

std::string with_ordinal(std::string text, int i) {
  for (size_t at; (at = text.find("{ord}")) != std::string::npos;)
    text.replace(at, 5, kOrdinals[static_cast<size_t>(i)]);
  const size_t end = text.find_last_not_of(" \t");
  return text.substr(0, end == std::string::npos ? 0 : end + 1);
}

void check(const PasskeyOptions& o) {
  if (o.passkeys < 1 || o.passkeys > static_cast<int>(kOrdinals.size()))
    refuse(fmt::format("passkeys {}, expected 1 to {}", o.passkeys, kOrdinals.size()));
  if (o.passkey_words < 1 || o.passkey_words > 10000)
    refuse(fmt::format("passkey_words {}, expected 1 to 10000", o.passkey_words));
  if (o.words.empty()) refuse("words is empty");
  if (o.min_length < 1 || o.max_length < o.min_length || o.max_length > kMaxLength)
    refuse(fmt::format("lengths {} to {}, expected 1 <= min_length <= max_length <= {}",
                       o.min_length, o.max_length, kMaxLength));
  if (o.length_count < 1 || o.length_count > 1000000)
    refuse(fmt::format("length_count {}, expected 1 to 1000000", o.length_count));
  if (o.depth_count < o.passkeys || o.depth_count > 10000000)
    refuse(fmt::format("depth_count {}, expected at least one for each of {} passkeys",
                       o.depth_count, o.passkeys));
  if (!(o.depth_low >= 0 && o.depth_low <= o.depth_high && o.depth_high <= 1))
    refuse(fmt::format("depths {} to {}, expected 0 <= depth_low <= depth_high <= 1", o.depth_low,
                       o.depth_high));
  if (o.pad_multiple < 1 || o.pad_multiple > 65536)
    refuse(fmt::format("pad_multiple {}, expected 1 to 65536", o.pad_multiple));
  if (o.position != "input" && o.position != "predict")
    refuse(fmt::format("position {}, expected \"input\" or \"predict\"", in_quotes(o.position)));
  for (const auto& [name, text] :
       {std::pair("needle", &o.needle), std::pair("question", &o.question)})
    if (o.passkeys > 1 && text->find("{ord}") == std::string::npos)
      refuse(fmt::format("{} has no {{ord}}, which tells {} passkeys apart", name, o.passkeys));
}

// Value i of `count` evenly spaced ones from low to high.
double spaced(double low, double high, int64_t count, int64_t i) {
  return count == 1 ? low
                    : low + (high - low) * static_cast<double>(i) / static_cast<double>(count - 1);
}

TokenIds encode_opening(const Tokenizer& tokenizer, const std::string& open) {
  const std::string start = "<|im_start|>";
  if (!open.starts_with(start) || tokenizer.id_of(start)) return tokenizer.encode(open);
  TokenIds ids;
  if (tokenizer.bos()) ids.push_back(*tokenizer.bos());
  append(ids, tokenizer.encode(open.substr(start.size())));
  return ids;
}

}  // namespace

const std::vector<std::string>& nato_words() {
  static const std::vector<std::string> words = {
      "alpha",   "bravo", "charlie", "delta",  "echo",     "foxtrot", "golf",   "hotel",  "india",
      "juliett", "kilo",  "lima",    "mike",   "november", "oscar",   "papa",   "quebec", "romeo",
      "sierra",  "tango", "uniform", "victor", "whiskey",  "xray",    "yankee", "zulu"};
  return words;
}

std::vector<int64_t> Sample::measured(const std::vector<int64_t>& tokens,
                                      const std::string& position) {
  std::vector<int64_t> out = tokens;
  if (position == "predict")
    for (auto& p : out) --p;  // the opening precedes every tail, so no position is 0
  return out;
}

PasskeyOptions PasskeyOptions::for_length(const Tokenizer& tokenizer, int64_t max_length) {
  PasskeyOptions options;
  options.max_length = max_length;
  options.min_length = std::max<int64_t>(1, std::min(options.min_length, max_length / 4));
  const StoryCorpus any(tokenizer, 0);
  constexpr std::array<std::pair<int, int>, 9> sizes = {
      {{10, 32}, {10, 16}, {5, 16}, {5, 8}, {3, 8}, {3, 4}, {2, 4}, {1, 4}, {1, 2}}};
  for (const auto& [passkeys, words] : sizes) {
    options.passkeys = passkeys;
    options.passkey_words = words;
    try {
      PasskeyData fits(tokenizer, options, any, 0);
      return options;
    } catch (const Error&) {
      if (passkeys == 1 && words == 2) throw;
    }
  }
  return options;
}

struct PasskeyData::Keys {
  std::vector<TokenIds> ids;  ///< [passkeys]
  int64_t overhead = 0;       ///< method 4.1 step 3, for these words
};

PasskeyData::PasskeyData(const Tokenizer& tokenizer, PasskeyOptions options,
                         const TextSource& background, uint64_t seed)
    : options_(std::move(options)), background_(background), random_(seed) {
  check(options_);
  open_ = encode_opening(tokenizer, options_.open);
  separator_ = tokenizer.encode(options_.separator);
  close_ = tokenizer.encode(options_.close);
  int64_t longest = 0;
  for (const auto& word : options_.words) {
    words_.push_back(tokenizer.encode(" " + word));
    if (word.empty() || words_.back().empty())
      refuse(fmt::format("word {} gives no token", in_quotes(word)));
    longest = std::max(longest, length(words_.back()));
  }
  overhead_ = length(open_) + length(close_);
  for (int i = 0; i < options_.passkeys; ++i) {
    needle_.push_back(tokenizer.encode(with_ordinal(options_.needle, i)));
    question_.push_back(tokenizer.encode(with_ordinal(options_.question, i)));
    overhead_ += 2 * length(separator_) + length(needle_.back()) + length(question_.back()) +
                 2 * options_.passkey_words * longest;
  }
  if (overhead_ > options_.max_length / 2)
    refuse(
        fmt::format("{} passkeys of {} words take up to {} tokens, more than half of max_length {}",
                    options_.passkeys, options_.passkey_words, overhead_, options_.max_length),
        "Use fewer or shorter passkeys, or a larger max_length.");
  const int64_t needed = options_.passkeys * length(separator_) + options_.pad_multiple -
                         1;  // what overhead leaves out
  if (options_.reserve < 0)
    options_.reserve = std::max(needed, std::min<int64_t>(300, options_.max_length / 8));
  if (options_.reserve < needed)
    refuse(fmt::format("reserve {} is less than the {} tokens of separators and padding",
                       options_.reserve, needed));
  if (options_.max_length - options_.reserve - overhead_ < kLeastHaystack)
    refuse(fmt::format(
               "max_length {} leaves no background beside {} tokens of passkeys and {} in reserve",
               options_.max_length, overhead_, options_.reserve),
           "Use fewer or shorter passkeys, or a larger max_length.");
}

PasskeyData::Keys PasskeyData::draw(Random random) const {
  Keys keys;
  keys.overhead = length(open_) + length(close_);
  for (size_t p = 0; p < needle_.size(); ++p) {
    TokenIds ids;
    for (int w = 0; w < options_.passkey_words; ++w) append(ids, random.choose(words_));
    keys.overhead +=
        2 * length(separator_) + length(needle_[p]) + length(question_[p]) + 2 * length(ids);
    keys.ids.push_back(std::move(ids));
  }
  return keys;
}

// opening, haystack with needle p before its token places[p] (ascending), its last `pad` tokens
// again, closing, tail
Sample PasskeyData::assemble(const Keys& keys, const TokenIds& haystack,
                             const std::vector<int64_t>& places, int64_t pad) const {
  Sample sample;
  TokenIds& ids = sample.ids;
  append(ids, open_);
  int64_t last = 0;
  for (size_t p = 0; p < places.size(); ++p) {
    ids.insert(ids.end(), haystack.begin() + last, haystack.begin() + places[p]);
    last = places[p];
    for (const auto* piece : {&separator_, &needle_[p], &keys.ids[p], &separator_})
      append(ids, *piece);
    sample.depths.push_back(static_cast<double>(places[p]) / static_cast<double>(haystack.size()));
  }
  ids.insert(ids.end(), haystack.begin() + last, haystack.end());
  for (int64_t i = 0; i < pad; ++i)
    ids.push_back(haystack[static_cast<size_t>(
        ((length(haystack) - pad + i) % length(haystack) + length(haystack)) % length(haystack))]);
  append(ids, close_);
  const int64_t tail = length(ids);
  for (size_t p = 0; p < places.size(); ++p) {
    append(ids, question_[p]);
    const int64_t first = length(ids);
    append(ids, keys.ids[p]);
    for (int64_t i = first; i < length(ids); ++i) sample.answer.push_back(i);
    append(ids, separator_);
  }
  sample.qa.resize(static_cast<size_t>(length(ids) - tail));
  std::iota(sample.qa.begin(), sample.qa.end(), tail);
  return sample;
}

Sample PasskeyData::sample(uint64_t index) const {
  const auto count = static_cast<uint64_t>(options_.length_count);
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  random_.fork("lengths", index / count).shuffle(order);
  const int64_t target = std::llround(spaced(static_cast<double>(options_.min_length),
                                             static_cast<double>(options_.max_length),
                                             options_.length_count, order[index % count]));
  const Keys keys = draw(random_.fork("words", index));
  const int64_t hay = std::min(target, options_.max_length - options_.reserve - keys.overhead);
  const TokenIds haystack =
      background_.take(random_.derive("background"), options_.fresh_background ? index : 0, hay);
  auto chosen = random_.fork("depths", index)
                    .sample_without_replacement(static_cast<uint64_t>(options_.depth_count),
                                                static_cast<uint64_t>(options_.passkeys));
  std::sort(chosen.begin(), chosen.end());
  std::vector<int64_t> places;
  for (uint64_t k : chosen)
    places.push_back(static_cast<int64_t>(static_cast<double>(hay) *
                                          spaced(options_.depth_low, options_.depth_high,
                                                 options_.depth_count, static_cast<int64_t>(k))));
  const int64_t total = keys.overhead + options_.passkeys * length(separator_) + hay;
  const int64_t pad =
      (options_.pad_multiple - total % options_.pad_multiple) % options_.pad_multiple;
  Sample sample = assemble(keys, haystack, places, pad);
  sample.length_target = target;
  return sample;
}

Sample PasskeyData::recall_sample(int64_t total, double depth, uint64_t trial) const {
  if (!(depth >= 0 && depth <= 1)) refuse(fmt::format("depth {}, expected 0 to 1", depth));
  if (total < 1 || total > kMaxLength)
    refuse(fmt::format("length {}, expected 1 to {}", total, kMaxLength));
  const Random random = random_.fork("recall", static_cast<uint64_t>(total));
  const Keys keys = draw(random.fork("words", trial));
  const int64_t hay = total - keys.overhead - options_.passkeys * length(separator_);
  if (hay < kLeastHaystack)
    refuse(fmt::format("length {} leaves no background beside {} passkeys of {} words ({} tokens)",
                       total, options_.passkeys, options_.passkey_words, total - hay),
           "Use fewer or shorter passkeys, or longer sequences.");
  const TokenIds haystack = background_.take(random.derive("background"), trial, hay);
  const auto place = static_cast<int64_t>(depth * static_cast<double>(hay));
  Sample sample = assemble(keys, haystack, std::vector<int64_t>(needle_.size(), place), 0);
  sample.length_target = total;
  return sample;
}

}  // namespace flashmorph
