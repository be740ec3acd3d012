// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/allocation_meter.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>

#include <c10/core/Allocator.h>

namespace flashmorph {

struct AllocationMeter::Counter : c10::MemoryReportingInfoBase {
  std::mutex mutex;
  std::unordered_map<void*, int64_t> known;
  int64_t live = 0, peak = 0, zero = 0;

  void reportMemoryUsage(void* pointer, int64_t bytes, size_t, size_t, c10::Device) override {
    const std::lock_guard guard(mutex);
    if (bytes > 0) {
      known[pointer] = bytes;
      live += bytes;
      peak = std::max(peak, live);
    } else if (const auto found = known.find(pointer); found != known.end()) {
      live -= found->second;
      known.erase(found);
    }
  }
  bool memoryProfilingEnabled() const override { return true; }
};

AllocationMeter::AllocationMeter()
    : counter_(std::make_shared<Counter>()), guard_(c10::DebugInfoKind::PROFILER_STATE, counter_) {}

int64_t AllocationMeter::live_bytes() const {
  const std::lock_guard guard(counter_->mutex);
  return counter_->live - counter_->zero;
}

int64_t AllocationMeter::peak_bytes() const {
  const std::lock_guard guard(counter_->mutex);
  return counter_->peak - counter_->zero;
}

void AllocationMeter::reset() {
  const std::lock_guard guard(counter_->mutex);
  counter_->zero = counter_->peak = counter_->live;
}

}  // namespace flashmorph
