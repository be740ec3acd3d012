// SPDX-License-Identifier: Apache-2.0
// Reads the attributes of the current device.
#include "kernels/cuda/device.h"

#include <cuda_runtime.h>

#include <array>
#include <mutex>

namespace flashmorph::kernels::cuda {

const Device& device() {
  static std::array<Device, 64> known;
  static std::mutex mutex;
  int index = 0;
  cudaGetDevice(&index);
  const std::lock_guard<std::mutex> lock(mutex);
  Device& now = known[static_cast<size_t>(index) % known.size()];
  if (now.multiprocessors == 0) {
    cudaDeviceGetAttribute(&now.multiprocessors, cudaDevAttrMultiProcessorCount, index);
    cudaDeviceGetAttribute(&now.major, cudaDevAttrComputeCapabilityMajor, index);
    cudaDeviceGetAttribute(&now.shared_bytes_per_block, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                           index);
  }
  return now;
}

}  // namespace flashmorph::kernels::cuda
