// SPDX-License-Identifier: Apache-2.0
#include "core/run/ids.h"

#include <gtest/gtest.h>

namespace flashmorph {
namespace {

TEST(Ids, TextGoesBothWays) {
  EXPECT_EQ(JobId{57}.to_string(), "j57");
  EXPECT_EQ(JobId::parse("j57"), JobId{57});
  EXPECT_EQ(RunId::parse("r3"), RunId{3});
  for (const char* text : {"", "j", "r3", "j0", "j-1", "j1x", "57", "j99999999999999999999"})
    EXPECT_FALSE(JobId::parse(text)) << text;
}

}  // namespace
}  // namespace flashmorph
