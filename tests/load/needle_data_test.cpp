// SPDX-License-Identifier: Apache-2.0
// Needle samples: exact length, the needle at a sentence end nearest the depth asked for, digits as
// the answer.
#include "core/load/needle_data.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/run/error.h"

namespace flashmorph {
namespace {

const Tokenizer& demo() {
  static const Tokenizer tokenizer =
      Tokenizer::load(std::filesystem::path(RESOURCES_DIR) / "demo/teacher");
  return tokenizer;
}

TEST(NeedleData, StandsAtASentenceEndAndIsAskedForAtTheEnd) {
  const StoryCorpus stories(demo(), 1);
  const NeedleData data(demo(), {}, stories, 3);
  for (int64_t length : {400, 1000, 4096})
    for (double depth : {0., 0.1, 0.25, 0.5, 0.9, 1.})
      for (uint64_t trial = 0; trial < 3; ++trial) {
        const Sample s = data.recall_sample(length, depth, trial);
        ASSERT_EQ(static_cast<int64_t>(s.ids.size()), length);
        const std::string text = demo().decode(s.ids);
        EXPECT_EQ(text.find("The text below hides one number. Remember it, a question follows.\n"),
                  0u);
        const size_t needle = text.find("The hidden number for ");
        ASSERT_NE(needle, std::string::npos);
        const size_t key_end = text.find(" is: ", needle);
        const std::string key = text.substr(needle + 22, key_end - needle - 22),
                          value = text.substr(key_end + 5, 7);
        EXPECT_EQ(text.substr(key_end + 12, 1), ".");
        const std::string tail = "\nWhich hidden number was given for " + key +
                                 " in the text? The hidden number given for " + key +
                                 " in the text is " + value;
        EXPECT_TRUE(text.ends_with(tail)) << text.substr(text.size() - 200);
        TokenIds answer;
        for (int64_t p : s.answer) answer.push_back(s.ids[static_cast<size_t>(p)]);
        EXPECT_EQ(demo().decode(answer), value);
        EXPECT_EQ(s.answer.back(), length - 1);
        EXPECT_NEAR(s.depths.at(0), depth, 40. / static_cast<double>(length - 250))
            << "a story sentence has at most 60 tokens";
        if (depth == 0 || depth == 1) {
          EXPECT_EQ(s.depths[0], depth);
        }
        if (depth == 1) continue;
        // The character before the needle (and its blank) ends a sentence, or the needle opens the
        // context.
        std::string before = text.substr(0, needle);
        while (before.back() == ' ' || before.back() == '\n') before.pop_back();
        EXPECT_EQ(before.back(), '.') << before.substr(before.size() - 40);
      }
}

TEST(NeedleData, NoSentenceEndIsNearer) {
  const StoryCorpus stories(demo(), 1);
  const NeedleData data(demo(), {}, stories, 3);
  const Sample start = data.recall_sample(1000, 0, 7);
  // Same trial: same context. Ends of sentences in it, as shares of its tokens.
  const TokenIds head =
      demo().encode("The text below hides one number. Remember it, a question follows.\n");
  const std::string whole = demo().decode(start.ids);
  const size_t from = whole.find("The hidden number for "),
               stop = whole.find(".", whole.find(" is: ", from)) + 1;
  TokenIds context(
      start.ids.begin() + static_cast<std::ptrdiff_t>(
                              head.size() + demo().encode(whole.substr(from, stop - from)).size()),
      start.ids.begin() + start.qa.front());
  std::vector<double> ends = {0};
  const TokenIds stops = {demo().encode(".").at(0)};
  for (size_t i = 0; i < context.size(); ++i)
    if (context[i] == stops[0])
      ends.push_back(static_cast<double>(i + 1) / static_cast<double>(context.size()));
  ASSERT_GT(ends.size(), 20u);
  for (double depth = 0.05; depth < 1; depth += 0.05) {
    double nearest = 1;
    for (double end : ends) nearest = std::min(nearest, std::abs(end - depth));
    EXPECT_NEAR(std::abs(data.recall_sample(1000, depth, 7).depths[0] - depth), nearest,
                4. / static_cast<double>(context.size()))
        << depth;
  }
}

TEST(NeedleData, IsPureAndPaired) {
  const StoryCorpus stories(demo(), 1);
  const NeedleData a(demo(), {}, stories, 3), b(demo(), {}, stories, 4);
  EXPECT_EQ(a.recall_sample(512, 0.5, 2).ids, a.recall_sample(512, 0.5, 2).ids);
  EXPECT_NE(a.recall_sample(512, 0.5, 2).ids, a.recall_sample(512, 0.5, 3).ids);
  EXPECT_NE(a.recall_sample(512, 0.5, 2).ids, b.recall_sample(512, 0.5, 2).ids);
  auto answer = [](const Sample& s) {
    return TokenIds(s.ids.end() - static_cast<std::ptrdiff_t>(s.answer.size()), s.ids.end());
  };
  EXPECT_EQ(answer(a.recall_sample(512, 0.1, 2)), answer(a.recall_sample(512, 0.9, 2)));
}

TEST(NeedleData, RefusesWhatCannotBe) {
  const StoryCorpus stories(demo(), 1);
  const NeedleData data(demo(), {}, stories, 3);
  EXPECT_THROW(data.recall_sample(100, 0.5, 0), Error);
  EXPECT_THROW(data.recall_sample(1000, -0.1, 0), Error);
  EXPECT_THROW(data.recall_sample(1000, std::nan(""), 0), Error);
  NeedleOptions odd;
  odd.needle = "Nothing here.";
  EXPECT_THROW(NeedleData(demo(), odd, stories, 0), Error);
}

}  // namespace
}  // namespace flashmorph
