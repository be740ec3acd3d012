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
/// effect within 2 s. The readings are counted: whoever waits can tell a busy worker from a stuck
/// one.
class StopFlag {
 public:
  StopFlag() : state_(std::make_shared<State>()) {}
  void set() const { state_->value.store(true, std::memory_order_relaxed); }
  bool is_set() const {
    state_->readings.fetch_add(1, std::memory_order_relaxed);
    return state_->value.load(std::memory_order_relaxed);
  }
  /// How often the flag has been read so far.
  uint64_t readings() const { return state_->readings.load(std::memory_order_relaxed); }

 private:
  struct State {
    std::atomic<bool> value{false};
    std::atomic<uint64_t> readings{0};
  };
  std::shared_ptr<State> state_;
};

/// done of total units of `what` (a noun in the plural, as "steps"), tokens processed so far.
struct Progress {
  std::string what;
  int64_t done = 0, total = 0;
  int64_t tokens = 0;
};
using ProgressCallback = std::function<void(const Progress&)>;

}  // namespace flashmorph
