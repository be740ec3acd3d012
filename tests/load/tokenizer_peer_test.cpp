// SPDX-License-Identifier: Apache-2.0
// Real vocabularies against the ids of the `tokenizers` library; packaging/fetch_test_data fetches
// them.
#include <cstdlib>
#include <map>

#include "tests/load/tokenizer_golden.h"

namespace flashmorph {
namespace {

std::filesystem::path test_data() {
  if (const char* given = std::getenv("FLASHMORPH_TEST_DATA")) return given;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"))
    return std::filesystem::path(cache) / "flashmorph/test-data";
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home ? home : ".") / ".cache/flashmorph/test-data";
}

class RealVocabulary : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(folder() / "tokenizer.json"))
      GTEST_SKIP() << "no " << folder() << ": run packaging/fetch_test_data";
  }
  std::filesystem::path folder() const { return test_data() / GetParam(); }
  std::filesystem::path golden() const {
    return std::filesystem::path(TEST_DATA_DIR) / "golden/tokenizers" /
           (std::string(GetParam()) + ".json");
  }
};

// Qwen3.5's rule runs on Qwen2's vocabulary; its own has no source among packages, so random
// strings alone serve it.
TEST_P(RealVocabulary, GivesTheGoldenIds) {
  if (!std::filesystem::exists(golden())) GTEST_SKIP() << "random strings only";
  expect_golden(Tokenizer::load(folder()), golden());
}

TEST_P(RealVocabulary, GivesTheIdsOfRandomStrings) {
  const auto file = folder() / "random.json";
  if (!std::filesystem::exists(file))
    GTEST_SKIP() << "no " << file << ": run packaging/fetch_test_data";
  expect_golden(Tokenizer::load(folder()), file);
}

// The same vocabulary as a GGUF file would state it.
TEST_P(RealVocabulary, GivesTheSameIdsFromGgufFields) {
  const std::map<std::string, std::string> pre = {
      {"smollm2", "smollm"}, {"qwen2", "qwen2"}, {"qwen35", "qwen35"}, {"llama3", "llama-bpe"}};
  const auto parts = read_tokenizer_json(read_file(folder() / "tokenizer.json"), "tokenizer.json");
  GgufTokenizerFields fields;
  fields.model = "gpt2";
  fields.pre = pre.at(GetParam());
  fields.tokens.resize(static_cast<size_t>(Tokenizer(parts, "t").vocab_size()));
  fields.token_types.resize(fields.tokens.size(), 1);
  for (const auto& [piece, id] : parts.vocabulary) fields.tokens[static_cast<size_t>(id)] = piece;
  for (const auto& token : parts.added) {
    fields.tokens[static_cast<size_t>(token.id)] = token.content;
    fields.token_types[static_cast<size_t>(token.id)] = 3;
  }
  for (const auto& [left, right] : parts.merges) fields.merges.push_back(left + " " + right);
  if (!parts.prefix.empty()) fields.bos = parts.prefix[0];
  expect_golden(Tokenizer::from_gguf(fields, "m.gguf"), folder() / "random.json");
}

TEST(RealGguf, GivesTheGoldenIdsOfItsTokenizerJson) {
  const auto file = test_data() / "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(file))
    GTEST_SKIP() << "no " << file << ": run packaging/fetch_test_data";
  const auto tokenizer = Tokenizer::load(file);
  expect_golden(tokenizer, std::filesystem::path(TEST_DATA_DIR) / "golden/tokenizers/smollm2.json");
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
}

INSTANTIATE_TEST_SUITE_P(All, RealVocabulary,
                         testing::Values("smollm2", "qwen2", "qwen35", "llama3"),
                         [](const auto& named) { return std::string(named.param); });

}  // namespace
}  // namespace flashmorph
