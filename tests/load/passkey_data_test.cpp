// SPDX-License-Identifier: Apache-2.0
// Passkey samples taken apart again: every piece stands where method 4.1 puts it, masks point at
// the words.
#include "core/load/passkey_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>

#include <nlohmann/json.hpp>

#include "core/run/error.h"

namespace flashmorph {
namespace {

const Tokenizer& demo() {
  static const Tokenizer tokenizer =
      Tokenizer::load(std::filesystem::path(RESOURCES_DIR) / "demo/teacher");
  return tokenizer;
}

PasskeyOptions toy() {
  PasskeyOptions o;
  o.passkeys = 3;
  o.passkey_words = 4;
  o.min_length = 256;
  o.max_length = 1024;
  return o;
}

const StoryCorpus& stories() {
  static const StoryCorpus corpus(demo(), 1);
  return corpus;
}

std::string text_at(const Sample& s, const std::vector<int64_t>& positions) {
  TokenIds ids;
  for (int64_t p : positions) ids.push_back(s.ids.at(static_cast<size_t>(p)));
  return demo().decode(ids);
}

TEST(PasskeyData, PiecesAreThoseTheDemoTeacherWasTrainedOn) {
  std::ifstream file(std::filesystem::path(TEST_DATA_DIR) / "golden/tokenizers/demo_passkey.json");
  const auto golden = nlohmann::json::parse(file);
  PasskeyOptions o = toy();
  o.passkeys = 2;
  o.passkey_words = 1;
  const PasskeyData data(demo(), o, stories(), 3);
  const Sample s = data.recall_sample(400, 0, 1);
  auto ids = [&](const nlohmann::json& j) { return j.get<TokenIds>(); };
  const TokenIds open = ids(golden["open"]), sep = ids(golden["separator"]),
                 close = ids(golden["close"]);
  TokenIds expected = open;
  auto add = [&](const TokenIds& more) {
    expected.insert(expected.end(), more.begin(), more.end());
  };
  // Which words were drawn is read from the answers; their ids must be those of the golden file.
  std::vector<TokenIds> keys;
  const std::string answers = text_at(s, s.answer);
  for (size_t at = 0; at < answers.size();) {
    const size_t end = std::min(answers.find(' ', at + 1), answers.size());
    const auto word = answers.substr(at + 1, end - at - 1);
    const auto& words = nato_words();
    const auto found = std::find(words.begin(), words.end(), word);
    ASSERT_NE(found, words.end()) << answers;
    keys.push_back(ids(golden["words"][static_cast<size_t>(found - words.begin())]));
    at = end;
  }
  ASSERT_EQ(keys.size(), 2u);
  for (size_t p = 0; p < 2; ++p) add(sep), add(ids(golden["needle"][p])), add(keys[p]), add(sep);
  EXPECT_EQ(TokenIds(s.ids.begin(), s.ids.begin() + static_cast<std::ptrdiff_t>(expected.size())),
            expected);
  expected = close;
  for (size_t p = 0; p < 2; ++p) add(ids(golden["question"][p])), add(keys[p]), add(sep);
  EXPECT_EQ(TokenIds(s.ids.end() - static_cast<std::ptrdiff_t>(expected.size()), s.ids.end()),
            expected);
}

// Reads a sample's text back into its parts.
struct Parts {
  std::vector<std::string> needles, answers;
};
Parts take_apart(const Sample& s, int passkeys) {
  static const char* const ordinals[] = {"first", "second",  "third",  "fourth", "fifth",
                                         "sixth", "seventh", "eighth", "ninth",  "tenth"};
  const std::string text = demo().decode(s.ids);
  Parts parts;
  size_t at = text.find("Here is the text of a very long book: <book> ");
  EXPECT_NE(at, std::string::npos);
  for (int p = 0; p < passkeys; ++p) {
    const std::string start = std::string("\n\nKeep this list of words in mind, it is the ") +
                              ordinals[p] + " passkey to the vault:";
    at = text.find(start, at);
    EXPECT_NE(at, std::string::npos) << "needle " << p << " is missing or out of order";
    at += start.size();
    parts.needles.push_back(text.substr(at, text.find("\n\n", at) - at));
  }
  at = text.find(" </book>.\n\n", at);
  EXPECT_NE(at, std::string::npos);
  at += 11;
  for (int p = 0; p < passkeys; ++p) {
    const std::string start = std::string("According to the book, what is the ") + ordinals[p] +
                              " passkey to the vault?\nPasskey:";
    EXPECT_EQ(text.find(start, at), at) << "question " << p;
    at += start.size();
    const size_t end = text.find("\n\n", at);
    parts.answers.push_back(text.substr(at, end - at));
    at = end + 2;
  }
  EXPECT_EQ(at, text.size());
  return parts;
}

TEST(PasskeyData, SamplesFollowTheMethod) {
  const PasskeyOptions o = toy();
  const PasskeyData data(demo(), o, stories(), 3);
  for (uint64_t index = 0; index < 30; ++index) {
    const Sample s = data.sample(index);
    const Parts parts = take_apart(s, o.passkeys);
    EXPECT_EQ(parts.needles, parts.answers);
    std::string joined, tail;
    for (const auto& words : parts.answers) {
      joined += words;
      EXPECT_EQ(std::count(words.begin(), words.end(), ' '), o.passkey_words);
    }
    EXPECT_EQ(text_at(s, s.answer), joined) << "the mask points at the passkeys of the tail";
    EXPECT_EQ(s.qa.back(), static_cast<int64_t>(s.ids.size()) - 1);
    EXPECT_EQ(s.qa.back() - s.qa.front() + 1, static_cast<int64_t>(s.qa.size()));
    EXPECT_EQ(text_at(s, s.qa).find("According to the book, what is the first"), 0u);
    EXPECT_EQ(s.ids.size() % 16, 0u);
    EXPECT_LE(static_cast<int64_t>(s.ids.size()), o.max_length);
    EXPECT_GE(static_cast<int64_t>(s.ids.size()), s.length_target - 128 - data.overhead() / 8);
    EXPECT_LE(static_cast<int64_t>(s.ids.size()), s.length_target + data.overhead() + 32);
    EXPECT_TRUE(std::is_sorted(s.depths.begin(), s.depths.end()));
    EXPECT_GE(s.depths.front(), 0.03);
    EXPECT_LE(s.depths.back(), 0.95);
  }
}

TEST(PasskeyData, DefaultSizesFitTheirLengths) {
  PasskeyOptions o;
  const PasskeyData data(demo(), o, stories(), 3);
  int64_t longest = 0;
  for (uint64_t index = 0; index < 50; ++index) {
    const Sample s = data.sample(index);
    longest = std::max(longest, static_cast<int64_t>(s.ids.size()));
    if (index >= 3) continue;
    const Parts parts = take_apart(s, 10);
    EXPECT_EQ(parts.needles, parts.answers);
  }
  EXPECT_LE(longest, 16000);
  EXPECT_GT(longest, 15000);
}

TEST(PasskeyData, EachLengthOncePerEpochInAnotherOrder) {
  const PasskeyData data(demo(), toy(), stories(), 3);
  std::vector<int64_t> first, second;
  for (uint64_t i = 0; i < 50; ++i) {
    first.push_back(data.sample(i).length_target);
    second.push_back(data.sample(50 + i).length_target);
  }
  EXPECT_NE(first, second);
  EXPECT_FALSE(std::is_sorted(first.begin(), first.end()));
  std::sort(first.begin(), first.end());
  std::sort(second.begin(), second.end());
  EXPECT_EQ(first, second);
  EXPECT_EQ(first.front(), 256);
  EXPECT_EQ(first.back(), 1024);
  for (size_t i = 0; i + 1 < 50; ++i)
    EXPECT_NEAR(static_cast<double>(first[i + 1] - first[i]), 768 / 49., 1);
}

TEST(PasskeyData, ASampleIsAPureFunctionOfItsIndex) {
  const PasskeyData a(demo(), toy(), stories(), 3), b(demo(), toy(), stories(), 3),
      c(demo(), toy(), stories(), 4);
  const Sample late = a.sample(77);
  for (uint64_t i = 0; i < 5; ++i) b.sample(i);
  EXPECT_EQ(b.sample(77).ids, late.ids);
  EXPECT_EQ(b.sample(77).answer, late.answer);
  EXPECT_NE(c.sample(77).ids, late.ids);
  EXPECT_NE(a.sample(78).ids, late.ids);
}

TEST(PasskeyData, NeedlesStandAtTheirDepths) {
  const PasskeyData data(demo(), toy(), stories(), 3);
  const TokenIds mark = demo().encode("\n\nKeep this list of words in mind, it is the first");
  const TokenIds open = demo().encode(data.options().open);
  for (uint64_t index = 0; index < 10; ++index) {
    const Sample s = data.sample(index);
    const auto at = std::search(s.ids.begin(), s.ids.end(), mark.begin(), mark.end()) -
                    s.ids.begin() - static_cast<std::ptrdiff_t>(open.size());
    // background tokens: all but opening, needles, closing and tail; the padding repeats the last
    // ones
    const double before = static_cast<double>(at);
    const double hay = before / s.depths[0];
    EXPECT_NEAR(hay, std::round(hay), 1e-6 * hay);
    EXPECT_GE(s.depths[0], 0.05 - 1 / hay);
  }
}

TEST(PasskeyData, PaddingRepeatsTheLastBackgroundTokens) {
  PasskeyOptions o = toy();
  const PasskeyData padded(demo(), o, stories(), 3);
  o.pad_multiple = 1;
  o.reserve = padded.options().reserve;
  const PasskeyData plain(demo(), o, stories(), 3);
  const auto close = static_cast<std::ptrdiff_t>(demo().encode(o.close).size());
  int checked = 0;
  for (uint64_t index = 0; index < 20; ++index) {
    const Sample a = padded.sample(index), b = plain.sample(index);
    const auto pad = static_cast<std::ptrdiff_t>(a.ids.size() - b.ids.size());
    ASSERT_GE(pad, 0);
    ASSERT_LT(pad, 16);
    const std::ptrdiff_t end = b.qa.front() - close;  // of the background
    EXPECT_TRUE(std::equal(a.ids.begin(), a.ids.begin() + end, b.ids.begin()));
    EXPECT_TRUE(
        std::equal(a.ids.begin() + end, a.ids.begin() + end + pad, b.ids.begin() + end - pad));
    EXPECT_TRUE(
        std::equal(a.ids.begin() + end + pad, a.ids.end(), b.ids.begin() + end, b.ids.end()));
    checked += pad > 0;
  }
  EXPECT_GT(checked, 10);
}

TEST(PasskeyData, RecallSamplesHaveExactLengthAndDepth) {
  const PasskeyData data(demo(), toy(), stories(), 3);
  for (int64_t length : {256, 301, 1024, 4096})
    for (double depth : {0., 0.3, 1.}) {
      const Sample s = data.recall_sample(length, depth, 5);
      EXPECT_EQ(static_cast<int64_t>(s.ids.size()), length);
      const Parts parts = take_apart(s, 3);
      EXPECT_EQ(parts.needles, parts.answers);
      for (double d : s.depths) EXPECT_NEAR(d, depth, 1. / 100);
    }
  // Depths of one trial are paired: same words, same background.
  const Sample a = data.recall_sample(512, 0.1, 5), b = data.recall_sample(512, 0.9, 5),
               c = data.recall_sample(512, 0.1, 6);
  EXPECT_EQ(text_at(a, a.answer), text_at(b, b.answer));
  EXPECT_TRUE(std::is_permutation(a.ids.begin(), a.ids.end(), b.ids.begin()));
  EXPECT_NE(text_at(a, a.answer), text_at(c, c.answer));
}

TEST(PasskeyData, PredictMeasuresOneEarlier) {
  EXPECT_EQ(Sample::measured({5, 6, 9}, "input"), (std::vector<int64_t>{5, 6, 9}));
  EXPECT_EQ(Sample::measured({5, 6, 9}, "predict"), (std::vector<int64_t>{4, 5, 8}));
}

TEST(PasskeyData, FixedBackgroundIsTheSameText) {
  PasskeyOptions o = toy();
  o.fresh_background = false;
  const PasskeyData data(demo(), o, stories(), 3);
  const size_t open = demo().encode(o.open).size();
  const auto a = data.sample(0).ids, b = data.sample(1).ids;
  EXPECT_TRUE(std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(open + 8), b.begin()));
}

TEST(PasskeyData, ToysAreFitted) {
  for (int64_t length : {128, 256, 512, 1024, 2048, 16000}) {
    const PasskeyOptions o = PasskeyOptions::for_length(demo(), length);
    const PasskeyData data(demo(), o, stories(), 0);
    EXPECT_LE(data.overhead(), length / 2);
    for (uint64_t i = 0; i < 60; ++i)
      EXPECT_LE(static_cast<int64_t>(data.sample(i).ids.size()), length);
  }
  EXPECT_EQ(PasskeyOptions::for_length(demo(), 16000).passkeys, 10);
  EXPECT_EQ(PasskeyOptions::for_length(demo(), 16000).passkey_words, 32);
  EXPECT_THROW(PasskeyOptions::for_length(demo(), 32), Error);
}

TEST(PasskeyData, RefusesImpossibleOptionsByName) {
  auto expect = [](const std::function<void(PasskeyOptions&)>& edit, const std::string& word) {
    PasskeyOptions o = toy();
    edit(o);
    try {
      const PasskeyData data(demo(), o, stories(), 0);
      ADD_FAILURE() << "accepted: " << word;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::bad_request);
      EXPECT_NE(e.message().find(word), std::string::npos) << e.message();
    }
  };
  expect([](auto& o) { o.passkeys = 0; }, "passkeys");
  expect([](auto& o) { o.passkeys = 21; }, "passkeys");
  expect([](auto& o) { o.passkey_words = 0; }, "passkey_words");
  expect([](auto& o) { o.words.clear(); }, "words");
  expect([](auto& o) { o.words = {""}; }, "gives no token");
  expect([](auto& o) { o.min_length = 2000; }, "min_length");
  expect([](auto& o) { o.depth_count = 2; }, "depth_count");
  expect([](auto& o) { o.depth_low = 1.5; }, "depth");
  expect([](auto& o) { o.depth_low = std::nan(""); }, "depth");
  expect([](auto& o) { o.position = "output"; }, "\"output\"");
  expect([](auto& o) { o.needle = "the passkey:"; }, "{ord}");
  expect([](auto& o) { o.passkey_words = 100; }, "more than half of max_length 1024");
  expect([](auto& o) { o.reserve = 3; }, "reserve");
  const PasskeyData data(demo(), toy(), stories(), 0);
  EXPECT_THROW(data.recall_sample(100, 0.5, 0), Error);
  EXPECT_THROW(data.recall_sample(512, 1.5, 0), Error);
  EXPECT_THROW(data.recall_sample(512, std::nan(""), 0), Error);
}

TEST(PasskeyData, AVocabularyWithoutImStartGetsBosOrNothing) {
  std::ifstream file(std::filesystem::path(RESOURCES_DIR) / "demo/teacher/tokenizer.json");
  auto json = nlohmann::json::parse(file);
  for (auto& token : json["added_tokens"])
    if (token["content"] == "<|im_start|>") token["content"] = "<|bos|>";
  json["model"]["vocab"].erase("<|im_start|>");
  auto parts = read_tokenizer_json(json.dump(), "t");
  const Tokenizer without(parts, "t");
  parts.bos = 1;
  const Tokenizer with_bos(parts, "t");
  const TokenIds rest = demo().encode(" Here is the text");
  for (const auto* tokenizer : {&without, &with_bos}) {
    const StoryCorpus corpus(*tokenizer, 0);
    TokenIds expected = rest;
    if (tokenizer == &with_bos) expected.insert(expected.begin(), 1);
    const TokenIds ids = PasskeyData(*tokenizer, toy(), corpus, 0).recall_sample(512, 0.5, 0).ids;
    EXPECT_EQ(TokenIds(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(expected.size())),
              expected);
  }
}

}  // namespace
}  // namespace flashmorph
