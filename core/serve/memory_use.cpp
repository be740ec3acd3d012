// SPDX-License-Identifier: Apache-2.0
#include "core/serve/memory_use.h"

#include <cstdio>
#include <fstream>
#include <string>

#include <c10/core/CachingDeviceAllocator.h>
#include <malloc.h>
#include <unistd.h>

namespace flashmorph {

namespace {

c10::DeviceAllocator* allocator_of(at::Device device) {
  if (device.is_cpu()) return nullptr;
  auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(device.type()));
  return allocator && allocator->initialized() ? allocator : nullptr;
}

int64_t memory_line(const char* key) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key)) return 1024 * std::atoll(line.c_str() + std::string(key).size());
  return 0;
}

}  // namespace

int64_t resident_bytes_now() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (!file) return 0;
  long long total = 0, resident = 0;
  const int got = std::fscanf(file, "%lld %lld", &total, &resident);
  std::fclose(file);
  return got == 2 ? resident * sysconf(_SC_PAGESIZE) : 0;
}

int64_t available_bytes() { return memory_line("MemAvailable:"); }
int64_t machine_bytes() { return memory_line("MemTotal:"); }

std::optional<DeviceMemory> device_memory(at::Device device) {
  c10::DeviceAllocator* allocator = allocator_of(device);
  if (!allocator) return std::nullopt;
  const auto [free_bytes, total] =
      allocator->getMemoryInfo(std::max<at::DeviceIndex>(device.index(), 0));
  return DeviceMemory{static_cast<int64_t>(total - free_bytes), static_cast<int64_t>(total)};
}

int64_t held_bytes(at::Device device) {
  if (c10::DeviceAllocator* allocator = allocator_of(device)) {
    using c10::CachingAllocator::StatType;
    return allocator->getDeviceStats(std::max<at::DeviceIndex>(device.index(), 0))
        .reserved_bytes[static_cast<size_t>(StatType::AGGREGATE)]
        .current;
  }
  return resident_bytes_now();
}

void release_cached_memory(at::Device device) {
  if (c10::DeviceAllocator* allocator = allocator_of(device)) allocator->emptyCache();
  malloc_trim(0);
}

}  // namespace flashmorph
