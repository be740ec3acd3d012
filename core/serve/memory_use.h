// SPDX-License-Identifier: Apache-2.0
// Memory of this process and of its device, and giving back what is only kept for later.
#pragma once

#include <cstdint>
#include <optional>

#include <ATen/ATen.h>

namespace flashmorph {

/// Resident memory of this process, bytes; 0 if unknown.
int64_t resident_bytes_now();
/// What the system could still give out, bytes; 0 if unknown.
int64_t available_bytes();
/// All memory of this machine, bytes.
int64_t machine_bytes();

/// Used of a GPU by everybody, and its size; nothing for the CPU.
struct DeviceMemory {
  int64_t used_bytes = 0, total_bytes = 0;
};
std::optional<DeviceMemory> device_memory(at::Device device);

/// What this process holds: reserved memory of a GPU, resident memory of the CPU.
int64_t held_bytes(at::Device device);
/// Returns cached memory to the device and the system.
void release_cached_memory(at::Device device);

}  // namespace flashmorph
