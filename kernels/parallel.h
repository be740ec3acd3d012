// SPDX-License-Identifier: Apache-2.0
// Runs a range on LibTorch's CPU threads; the only file of this folder that is compiled with OpenMP
// is behind it.
#pragma once

#include <cstdint>
#include <functional>

namespace flashmorph::kernels {

/// Calls work(begin, end) on parts of [0, count), each of at least `grain` items, on at most
/// at::get_num_threads() threads. The first exception of a part is thrown here.
void parallel_ranges(int64_t count, int64_t grain,
                     const std::function<void(int64_t begin, int64_t end)>& work);

}  // namespace flashmorph::kernels
