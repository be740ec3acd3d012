// SPDX-License-Identifier: Apache-2.0
// Counts what LibTorch's allocators give out while it lives: exact bytes of tensors, on the CPU and
// on a GPU alike.
#pragma once

#include <cstdint>
#include <memory>

#include <c10/util/ThreadLocalDebugInfo.h>

namespace flashmorph {

/// Watches this thread, and the autograd threads that work for it. Memory taken before and given
/// back meanwhile is not known to it, so keep what exists.
class AllocationMeter {
 public:
  AllocationMeter();
  int64_t live_bytes() const;  ///< taken since the start and not given back
  int64_t peak_bytes() const;  ///< the largest of it so far
  /// Starts anew: what is live now is the new zero of both.
  void reset();

 private:
  struct Counter;
  std::shared_ptr<Counter> counter_;
  c10::DebugInfoGuard guard_;
};

}  // namespace flashmorph
