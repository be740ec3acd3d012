// SPDX-License-Identifier: Apache-2.0
// Real vocabularies against the ids of the `tokenizers` library; packaging/fetch_test_data fetches them.
#include <cstdlib>

#include "tests/load/tokenizer_golden.h"

namespace flashmorph {
namespace {

std::filesystem::path test_data() {
  if (const char* given = std::getenv("FLASHMORPH_TEST_DATA")) return given;
  if (const char* cache = std::getenv("XDG_CACHE_HOME")) return std::filesystem::path(cache) / "flashmorph/test-data";
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
    return std::filesystem::path(TEST_DATA_DIR) / "golden/tokenizers" / (std::string(GetParam()) + ".json");
  }
};

TEST_P(RealVocabulary, GivesTheGoldenIds) { expect_golden(Tokenizer::load(folder()), golden()); }

TEST_P(RealVocabulary, GivesTheIdsOfRandomStrings) {
  const auto file = folder() / "random.json";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "no " << file << ": run packaging/fetch_test_data";
  expect_golden(Tokenizer::load(folder()), file);
}

TEST(RealGguf, GivesTheGoldenIdsOfItsTokenizerJson) {
  const auto file = test_data() / "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << "no " << file << ": run packaging/fetch_test_data";
  const auto tokenizer = Tokenizer::load(file);
  expect_golden(tokenizer, std::filesystem::path(TEST_DATA_DIR) / "golden/tokenizers/smollm2.json");
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.eos(), 2);
}

INSTANTIATE_TEST_SUITE_P(All, RealVocabulary, testing::Values("smollm2", "qwen2", "llama3"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace flashmorph
