// SPDX-License-Identifier: Apache-2.0
// How long work talks to whoever waits for it: a stop flag it reads, and progress it reports.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace flashmorph {

/// A flag several threads share; workers read it per layer and micro-batch, so that a stop takes
/// effect within 2 s.
class StopFlag {
 public:
  StopFlag() : value_(std::make_shared<std::atomic<bool>>(false)) {}
  void set() const { value_->store(true, std::memory_order_relaxed); }
  bool is_set() const { return value_->load(std::memory_order_relaxed); }

 private:
  std::shared_ptr<std::atomic<bool>> value_;
};

/// done of total units of `what` (a noun in the plural, as "steps"), tokens processed so far.
struct Progress {
  std::string what;
  int64_t done = 0, total = 0;
  int64_t tokens = 0;
};
using ProgressCallback = std::function<void(const Progress&)>;

}  // namespace flashmorph
