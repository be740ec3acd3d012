// SPDX-License-Identifier: Apache-2.0
// Finds and loads the CUDA part at run time: LibTorch's libtorch_cuda.so and our own kernels.
// Without it all runs on the CPU.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace flashmorph::kernels {

struct CudaDevice {
  int index = 0;                                   ///< as in the device name cuda:index
  std::string name;                                ///< as the driver gives it
  int64_t memory_bytes = 0;                        ///< total memory
  int capability_major = 0, capability_minor = 0;  ///< 9, 0 for H100 and H200
};

/// What was found. `available`: tensors can live on cuda devices. `own_kernels`: our CUDA kernels
/// are registered too.
struct CudaStatus {
  bool available = false;
  bool own_kernels = false;
  std::string reason;  ///< one sentence when one of the two is missing, else empty
  std::vector<CudaDevice> devices;
};

/// Loads at the first call and answers the same ever after; safe from any thread. Call it before
/// anything else asks LibTorch for CUDA, because LibTorch remembers the answer it had first. Our
/// kernels, libflashmorph_kernels_cuda.so, are looked for in $FLASHMORPH_CUDA_LIBRARY (a file;
/// "none" keeps everything on the CPU), beside the program, in ../lib/flashmorph and ../lib from
/// there. Never throws for a missing part.
const CudaStatus& load_cuda();

}  // namespace flashmorph::kernels
