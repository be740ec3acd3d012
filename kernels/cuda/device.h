// SPDX-License-Identifier: Apache-2.0
// What the host side must know of the current device.
#pragma once

namespace flashmorph::kernels::cuda {

struct Device {
  int multiprocessors = 0;
  int major = 0;                   // compute capability
  int shared_bytes_per_block = 0;  // the largest that a kernel may ask for
};

/// The current device, read once per device.
const Device& device();

}  // namespace flashmorph::kernels::cuda
