// SPDX-License-Identifier: Apache-2.0
#include "core/run/layer_plan.h"

#include <gtest/gtest.h>

#include "core/run/error.h"

namespace flashmorph {
namespace {

TEST(LayerPlan, TextFormGoesBothWays) {
  const LayerPlan plan = LayerPlan::of(28, {16, 1, 12, 11, 13, 14, 21});
  EXPECT_EQ(plan.to_string(), "28:1,11-14,16,21");
  EXPECT_EQ(LayerPlan::parse(plan.to_string()), plan);
  EXPECT_EQ(LayerPlan::parse("4:"), LayerPlan::all_linear(4));
  EXPECT_EQ(LayerPlan::parse("4:0-3"), LayerPlan::all_full(4));
}

TEST(LayerPlan, EveryBadTextIsRefused) {
  for (const char* text :
       {"", "28", ":1", "28:1,", "28:28", "28:3-1", "28:2,1", "28:1,1", "28:a", "28:1 ,2",
        "0:", "-4:1", "99999999999:1", "28:1-99999999999", "5000:1", "28:1;2"})
    EXPECT_THROW(LayerPlan::parse(text), Error) << text;
}

TEST(LayerPlan, OfRefusesRepeatedAndOutsideLayers) {
  EXPECT_THROW(LayerPlan::of(4, {1, 1}), Error);
  EXPECT_THROW(LayerPlan::of(4, {4}), Error);
  EXPECT_THROW(LayerPlan::of(4, {-1}), Error);
}

}  // namespace
}  // namespace flashmorph
