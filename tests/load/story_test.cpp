// SPDX-License-Identifier: Apache-2.0
// Stories: the shares of each kind of sentence equal those of the generator the demo teacher was
// trained with.
#include "core/load/story.h"

#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "core/load/corpus.h"

namespace flashmorph {
namespace {

const Tokenizer& demo() {
  static const Tokenizer tokenizer =
      Tokenizer::load(std::filesystem::path(RESOURCES_DIR) / "demo/teacher");
  return tokenizer;
}

TEST(Story, SharesOfSentencesEqualTheTrainingGenerator) {
  // Measured on 80,000 sentences of make_demo_teacher.py.
  const std::map<std::string, double> expected = {
      {"still had", .0806},    {"gave the", .0816},  {" asked ", .0823},   {"bought a", .1792},
      {"found a", .1744},      {"walked to", .0989}, {"waited at", .0989}, {"and went to", .1012},
      {"The rain did", .0166}, {"Snow lay", .0166}};
  std::map<std::string, int> count;
  Random random(11);
  size_t lines = 0, bytes = 0;
  const int sentences = 80000;
  for (int i = 0; i < sentences / 40; ++i) {
    const std::string text = story(random, 40);
    bytes += text.size();
    for (char c : text) lines += c == '\n';
    EXPECT_EQ(text.find("\n "), std::string::npos);
    for (const auto& [words, share] : expected)
      for (size_t at = 0; (at = text.find(words, at)) != std::string::npos; ++at) ++count[words];
  }
  for (const auto& [words, share] : expected)
    EXPECT_NEAR(static_cast<double>(count[words]) / sentences, share, 0.006)
        << words;  // 4 standard errors of either side
  EXPECT_NEAR(static_cast<double>(lines) / sentences, 0.12, 0.005);
  EXPECT_NEAR(static_cast<double>(bytes) / sentences, 49.5, 0.5);
}

TEST(Story, WhoGivesAnItemHeldIt) {
  Random random(12);
  int given = 0;
  for (int i = 0; i < 200; ++i) {
    const std::string text = story(random, 40);
    for (size_t at = 0; (at = text.find(" gave the ", at)) != std::string::npos; ++at) {
      const size_t start = at + 10, end = text.find(" to ", start);
      const std::string item =
          text.substr(start, end - start);  // "red lantern": bought or found before
      EXPECT_LT(text.find("a " + item), at) << item;
      ++given;
    }
  }
  EXPECT_GT(given, 300);
}

TEST(Story, WritingRepeatsAndLongerBeginsWithShorter) {
  std::ostringstream a, b, c;
  const int64_t written = write_stories(a, 5, 3000, &demo());
  write_stories(b, 5, 9000, &demo());
  write_stories(c, 6, 3000, &demo());
  EXPECT_GE(written, 3000);
  EXPECT_LT(written, 5000);
  EXPECT_EQ(b.str().substr(0, a.str().size()), a.str());
  EXPECT_NE(c.str(), a.str());
  EXPECT_NEAR(static_cast<double>(demo().encode(a.str()).size()), static_cast<double>(written), 8);
  std::ostringstream plain;
  EXPECT_GE(write_stories(plain, 5, 1000, nullptr), 1000);
}

TEST(StoryCorpus, TakesExactlyAndRepeatably) {
  const StoryCorpus stories(demo(), 3), other(demo(), 4);
  for (int64_t n : {0, 1, 63, 5000})
    EXPECT_EQ(stories.take(1, 2, n).size(), static_cast<size_t>(n));
  EXPECT_EQ(stories.take(1, 2, 100), stories.take(1, 2, 100));
  const auto longer = stories.take(1, 2, 2000);
  EXPECT_EQ(stories.take(1, 2, 100), TokenIds(longer.begin(), longer.begin() + 100));
  EXPECT_NE(stories.take(1, 3, 100), stories.take(1, 2, 100));
  EXPECT_NE(stories.take(2, 2, 100), stories.take(1, 2, 100));
  EXPECT_NE(other.take(1, 2, 100), stories.take(1, 2, 100));
  EXPECT_NE(other.data_sha256(), stories.data_sha256());
  EXPECT_EQ(stories.data_sha256().size(), 64u);
}

}  // namespace
}  // namespace flashmorph
