// SPDX-License-Identifier: Apache-2.0
// Signs of life of the worker, read by the control thread: a busy worker is told from a stuck one.
#pragma once

#include <chrono>
#include <mutex>
#include <string>

#include "core/run/progress.h"

namespace flashmorph {

class WorkerPulse {
 public:
  /// A job begins: readings of its stop flag count as beats.
  void begin(const std::string& job, StopFlag flag) {
    const std::lock_guard guard(mutex_);
    job_ = job;
    flag_ = std::move(flag);
    readings_ = flag_.readings();
    step_ = 0;
    last_ = Clock::now();
  }
  void beat(int64_t step) {
    const std::lock_guard guard(mutex_);
    step_ = step;
    last_ = Clock::now();
  }
  void end() {
    const std::lock_guard guard(mutex_);
    job_.clear();
  }

  struct Reading {
    std::string job;  ///< empty: idle
    int64_t step = 0;
    double age_s = 0;  ///< exact to the time between two calls
  };
  Reading read() {
    const std::lock_guard guard(mutex_);
    const auto now = Clock::now();
    if (const uint64_t readings = flag_.readings(); readings != readings_) {
      readings_ = readings;
      last_ = now;
    }
    if (job_.empty()) return {};
    return {job_, step_, std::chrono::duration<double>(now - last_).count()};
  }

 private:
  using Clock = std::chrono::steady_clock;
  std::mutex mutex_;
  std::string job_;
  StopFlag flag_;
  uint64_t readings_ = 0;
  int64_t step_ = 0;
  Clock::time_point last_ = Clock::now();
};

}  // namespace flashmorph
