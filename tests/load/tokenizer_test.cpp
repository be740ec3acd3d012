// SPDX-License-Identifier: Apache-2.0
// The tokenizer on the demo vocabulary, and BPE against a naive merge loop.
#include <chrono>
#include <random>
#include <thread>

#include "core/load/unicode.h"
#include "tests/load/tokenizer_golden.h"

namespace flashmorph {
namespace {

const std::filesystem::path kDemo = std::filesystem::path(RESOURCES_DIR) / "demo/teacher";

const Tokenizer& demo() {
  static const Tokenizer tokenizer = Tokenizer::load(kDemo);
  return tokenizer;
}

TEST(Tokenizer, DemoGivesTheGoldenIds) {
  expect_golden(demo(), std::filesystem::path(TEST_DATA_DIR) / "golden/tokenizers/demo.json");
}

TEST(Tokenizer, DemoNamesItsTokens) {
  EXPECT_EQ(demo().id_of("<|im_start|>"), 1);
  EXPECT_EQ(demo().id_of("Ġthe"), demo().encode(" the").at(0));
  EXPECT_EQ(demo().id_of(" the"), std::nullopt);
  EXPECT_EQ(demo().eos(), 0);
  EXPECT_EQ(demo().bos(), std::nullopt);
}

// The definition: while any neighbors have a merge, join the pair of lowest rank, leftmost first.
TokenIds naive_bpe(std::string_view piece, const Vocabulary& vocabulary,
                   const std::vector<std::pair<std::string, std::string>>& merges) {
  std::vector<std::string> parts;
  for (char c : piece) parts.push_back(spell_bytes({&c, 1}));
  for (;;) {
    size_t best = merges.size(), where = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i)
      for (size_t rank = 0; rank < best; ++rank)
        if (merges[rank].first == parts[i] && merges[rank].second == parts[i + 1])
          best = rank, where = i;
    if (best == merges.size()) break;
    parts[where] += parts[where + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(where) + 1);
  }
  TokenIds ids;
  for (const auto& part : parts) ids.push_back(vocabulary.at(part));
  return ids;
}

TEST(Bpe, EqualsTheNaiveMergeLoopOnRandomWords) {
  const auto parts = read_tokenizer_json(read_file(kDemo / "tokenizer.json"), "tokenizer.json");
  const Bpe bpe(parts.vocabulary, parts.merges, parts.bpe, "tokenizer.json");
  std::mt19937 rng(5);
  BpeScratch scratch;
  size_t merged = 0;
  for (int trial = 0; trial < 150; ++trial) {
    std::string word;
    const auto length = rng() % 40;
    for (size_t i = 0; i < length; ++i)
      word += trial % 3 ? "theandrouwsg "[rng() % 13] : static_cast<char>(rng() % 256);
    TokenIds ids;
    bpe.encode(word, scratch, ids);
    EXPECT_EQ(ids, naive_bpe(word, parts.vocabulary, parts.merges)) << word;
    merged += word.size() - ids.size();
  }
  EXPECT_GT(merged, 300u);
}

TEST(Tokenizer, LongRunsStayLinear) {
  const auto start = std::chrono::steady_clock::now();
  for (const char* unit : {"a", " ", "\n", "\xCC\x81", "'", "e\xCC\x81", " \n", "1"}) {
    std::string text;
    while (text.size() < (size_t{1} << 20)) text += unit;
    EXPECT_EQ(demo().decode(demo().encode(text)), text) << unit;
  }
  const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  EXPECT_LT(s, 60)
      << "a megabyte of one letter is not linear";  // measured 1.5 s; quadratic would take hours
}

TEST(Tokenizer, IllFormedTextIsReadAsReplacementCharacters) {
  EXPECT_EQ(demo().encode("a\xFFz"), demo().encode("a\xEF\xBF\xBDz"));
  EXPECT_EQ(demo().encode("\xE4\xBD"), demo().encode("\xEF\xBF\xBD"));
  const TokenIds half = {demo().id_of("Ã").value()};
  EXPECT_EQ(demo().decode(half), "\xEF\xBF\xBD");
  EXPECT_EQ(demo().bytes_of(half[0]), "\xC3");
}

TEST(Tokenizer, DecodingDropsWhatIsAskedFor) {
  const TokenIds ids = {1, demo().encode(" the").at(0), 2, -1, 793, 1 << 30};
  EXPECT_EQ(demo().decode(ids), "<|im_start|> the<|im_end|>");
  EXPECT_EQ(demo().decode(ids, false), " the");
}

TEST(Tokenizer, SameIdsFromTheCacheAndFromSeveralThreads) {
  const std::string text = read_file(kDemo / "tokenizer.json").substr(0, 20000);
  const TokenIds once = Tokenizer::load(kDemo).encode(text);
  std::vector<std::thread> threads;
  std::array<TokenIds, 4> ids;
  for (auto& mine : ids) threads.emplace_back([&] { mine = demo().encode(text); });
  for (auto& thread : threads) thread.join();
  for (const auto& mine : ids) EXPECT_EQ(mine, once);
}

}  // namespace
}  // namespace flashmorph
