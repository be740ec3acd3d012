// SPDX-License-Identifier: Apache-2.0
// Loading the CUDA part: with or without a GPU the answer is complete and the same every time.
#include "kernels/cuda_library.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace flashmorph::kernels {
namespace {

TEST(CudaLibrary, SaysWhatIsThereAndWhyNot) {
  const CudaStatus& status = load_cuda();
  EXPECT_EQ(status.available, at::globalContext().hasCUDA());
  EXPECT_EQ(status.reason.empty(), status.available && status.own_kernels) << status.reason;
  EXPECT_TRUE(status.available || !status.own_kernels);
  if (status.available) {
    ASSERT_FALSE(status.devices.empty());
    EXPECT_FALSE(status.devices.front().name.empty());
    EXPECT_GT(status.devices.front().memory_bytes, 0);
    EXPECT_GT(status.devices.front().capability_major, 0);
  }
  EXPECT_EQ(&load_cuda(), &status);
  RecordProperty("reason", status.reason);
}

}  // namespace
}  // namespace flashmorph::kernels
