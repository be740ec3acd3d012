// SPDX-License-Identifier: Apache-2.0
#include "kernels/parallel.h"

#include <ATen/Parallel.h>

#ifndef _OPENMP
#error "compile this file with OpenMP: without it LibTorch runs everything on one thread"
#endif

namespace flashmorph::kernels {

void parallel_ranges(int64_t count, int64_t grain,
                     const std::function<void(int64_t begin, int64_t end)>& work) {
  at::parallel_for(0, count, grain, work);
}

}  // namespace flashmorph::kernels
