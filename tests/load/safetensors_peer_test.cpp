// SPDX-License-Identifier: Apache-2.0
// What we write, read and written again by the reference library, is what we read.
#include <cstdlib>

#include <gtest/gtest.h>

#include "core/load/safetensors.h"
#include "tests/load/temporary_folder.h"

namespace flashmorph {
namespace {

TEST(WriteSafetensors, TheReferenceLibraryReadsIt) {
  const char* named = std::getenv("FLASHMORPH_PEER_PYTHON");
  const char* home = std::getenv("HOME");
  const std::string python = named != nullptr ? named
                                              : std::string(home == nullptr ? "." : home) +
                                                    "/.cache/flashmorph/peer/bin/python";
  if (!std::filesystem::exists(python)) GTEST_SKIP() << "all of it: no peer environment";

  const testing::TemporaryFolder folder;
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const auto type : {at::kFloat, at::kHalf, at::kBFloat16, at::kDouble, at::kLong, at::kInt,
                          at::kShort, at::kChar, at::kByte, at::kBool})
    tensors.emplace_back(std::string("layers.") + at::toString(type),
                         at::arange(15).remainder(2).to(type).view({3, 5}));
  tensors.emplace_back("scalar", at::scalar_tensor(2.5));
  tensors.emplace_back("empty", at::empty({0, 4}));
  tensors.emplace_back("odd",
                       at::ones({3}, at::kByte));  // an odd number of bytes between wider ones
  const auto ours = folder.path() / "ours.safetensors",
             theirs = folder.path() / "theirs.safetensors";
  write_safetensors(ours, tensors, {{"kind", "gdn \"x\"\n"}});
  const std::string command = python + " " + TEST_DATA_DIR + "/../load/resave_safetensors.py " +
                              ours.string() + " " + theirs.string();
  ASSERT_EQ(std::system(command.c_str()), 0);
  const SafetensorsFile back(theirs);
  EXPECT_EQ(back.entries().size(), tensors.size());
  EXPECT_EQ(back.metadata(), SafetensorsFile(ours).metadata());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_EQ(back.tensor(name).scalar_type(), tensor.scalar_type()) << name;
    EXPECT_TRUE(at::equal(back.tensor(name), tensor)) << name;
  }
}

}  // namespace
}  // namespace flashmorph
