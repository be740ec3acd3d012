// SPDX-License-Identifier: Apache-2.0
// FIPS 180-4 examples, and the ends of blocks.
#include "core/load/sha256.h"

#include <gtest/gtest.h>

#include "tests/load/temporary_folder.h"

namespace flashmorph {
namespace {

TEST(Sha256, GivesTheValuesOfTheStandard) {
  EXPECT_EQ(sha256_hex(std::string_view{}),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjkl"
                       "mnopqklmnopqrlmnopqrs"
                       "mnopqrstnopqrstu"),
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  EXPECT_EQ(sha256_hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheBytesArrive) {
  const std::string text(300, 'x');
  for (size_t cut = 0; cut <= 130; ++cut) {
    Sha256 sum;
    sum.update(std::string_view(text).substr(0, cut));
    sum.update(std::string_view(text).substr(cut));
    EXPECT_EQ(sum.hex(), sha256_hex(text)) << cut;
  }
}

TEST(Sha256, OfAFileIsThatOfItsBytes) {
  const testing::TemporaryFolder folder;
  EXPECT_EQ(sha256_file(folder.write("a", "abc")), sha256_hex("abc"));
  EXPECT_EQ(sha256_file(folder.write("empty", "")), sha256_hex(std::string_view{}));
}

}  // namespace
}  // namespace flashmorph
