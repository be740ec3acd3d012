// SPDX-License-Identifier: Apache-2.0
#include "core/run/eval_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/run/digest.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

TEST(Digest, StandardVectors) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(EvalSet, JsonGoesBothWays) {
  EvalSet set;
  set.name = "needle-2";
  set.task = "needle";
  set.lengths = {128, 256};
  set.depths = {0, 0.5};
  set.trials = 8;
  set.seed = ~uint64_t{0};
  set.strings = {{"needle", "The hidden number is {value}."}};
  const EvalSet back = EvalSet::parse(set.to_json().dump(), "test");
  EXPECT_EQ(back.to_json(), set.to_json());
  EXPECT_EQ(back.hash(), set.hash());
  EXPECT_EQ(back.id(), "needle-2");
}

TEST(EvalSet, HashIsOfTheContentNotTheName) {
  EvalSet a, b;
  b.name = "other";
  EXPECT_EQ(a.hash(), b.hash());
  EXPECT_EQ(a.id(), "passkey-" + a.hash().substr(0, 8));
  b.seed = 2;
  EXPECT_NE(a.hash(), b.hash());
}

TEST(EvalSet, EveryBadFieldIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"trails": 3})", "trails"},
      {R"({"task": "poem"})", "task"},
      {R"({"lengths": []})", "lengths"},
      {R"({"lengths": [512, 512]})", "lengths"},
      {R"({"lengths": [0]})", "lengths"},
      {R"({"lengths": [1.5]})", "lengths"},
      {R"({"depths": [0, 2]})", "depths"},
      {R"({"depths": [-0.1]})", "depths"},
      {R"({"depths": [null]})", "depths"},
      {R"({"trials": 0})", "trials"},
      {R"({"trials": 70000})", "trials"},
      {R"({"seed": -1})", "seed"},
      {R"({"name": "../x"})", "name"},
      {R"({"strings": [1]})", "strings"},
      {R"({"strings": {"needle": 3}})", "needle"},
      {R"([])", "object"},
      {R"({"trials": 3, "trials": 4})", "twice"},
      {R"({)", "JSON"},
  };
  for (const auto& [text, word] : cases) try {
      EvalSet::parse(text, "set.json");
      ADD_FAILURE() << text;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr(word)) << text;
      EXPECT_THAT(e.what(), testing::HasSubstr("set.json")) << text;
    }
}

}  // namespace
}  // namespace flashmorph
