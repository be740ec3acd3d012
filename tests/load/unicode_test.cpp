// SPDX-License-Identifier: Apache-2.0
// UTF-8 repair by Unicode's own example, NFC, byte-level spellings.
#include "core/load/unicode.h"

#include <gtest/gtest.h>

#include <chrono>

namespace flashmorph {
namespace {

TEST(Utf8, RepairsEachMaximalPartOnce) {
  // The Unicode standard, table 3-8: 61 F1 80 80 E1 80 C2 62 80 63 80 BF 64.
  EXPECT_EQ(to_valid_utf8("\x61\xF1\x80\x80\xE1\x80\xC2\x62\x80\x63\x80\xBF\x64"),
            "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"
            "b\xEF\xBF\xBD"
            "c\xEF\xBF\xBD\xEF\xBF\xBD"
            "d");
  EXPECT_FALSE(is_valid_utf8("\xED\xA0\x80"));      // a surrogate
  EXPECT_FALSE(is_valid_utf8("\xC0\x80"));          // overlong
  EXPECT_FALSE(is_valid_utf8("\xF4\x90\x80\x80"));  // above U+10FFFF
  EXPECT_TRUE(is_valid_utf8("a\xC3\xA9\xE4\xBD\xA0\xF0\x9F\x98\x80"));
}

TEST(Utf8, PrefixCutsNoCharacter) {
  const std::string_view text = "a\xF0\x9F\x98\x80z";
  const size_t expected[] = {0, 1, 1, 1, 1, 5, 6, 6};
  for (size_t limit = 0; limit < 8; ++limit)
    EXPECT_EQ(utf8_prefix(text, limit), expected[limit]) << limit;
}

TEST(Nfc, ComposesReordersAndLeavesTheRest) {
  EXPECT_EQ(nfc("cafe\xCC\x81"), "caf\xC3\xA9");
  EXPECT_EQ(nfc("\xE2\x84\xAB"), "\xC3\x85");                              // Angstrom sign
  EXPECT_EQ(nfc("\xE1\x84\x92\xE1\x85\xA1\xE1\x86\xAB"), "\xED\x95\x9C");  // Hangul
  EXPECT_EQ(nfc("a\xCC\x81\xCC\xA7"), "\xC3\xA1\xCC\xA7");  // marks sorted, then composed
  EXPECT_EQ(nfc("\xE0\xA4\x95\xE0\xA4\xBC"),
            "\xE0\xA4\x95\xE0\xA4\xBC");  // excluded from composition
  EXPECT_EQ(nfc("plain"), "plain");
  // U+07FD (Unicode 11, class 220) is no mark to the tokenizers library: nothing moves or composes
  // across it.
  EXPECT_EQ(nfc("a\xDF\xBD\xCC\x81"), "a\xDF\xBD\xCC\x81");
  EXPECT_EQ(nfc("e\xCC\x81\xDF\xBD"), "\xC3\xA9\xDF\xBD");
}

TEST(Nfc, AMegabyteOfMixedMarksIsNotQuadratic) {
  std::string text = "a";
  while (text.size() < (size_t{1} << 20)) text += "\xCC\x81\xCC\xA7";
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(nfc(text).size(), text.size() - 1);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(),
            20);  // measured 0.1 s
}

TEST(ByteSpelling, IsABijection) {
  for (int b = 0; b < 256; ++b) {
    const std::string byte(1, static_cast<char>(b));
    EXPECT_EQ(unspell_bytes(spell_bytes(byte)), byte);
  }
  EXPECT_EQ(spell_bytes(" \n\xC3\xA9"), "\xC4\xA0\xC4\x8A\xC3\x83\xC2\xA9");
  EXPECT_EQ(unspell_bytes("a b"), std::nullopt);
  EXPECT_EQ(unspell_bytes("\xE2\x96\x81"), std::nullopt);
}

}  // namespace
}  // namespace flashmorph
