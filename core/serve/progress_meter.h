// SPDX-License-Identifier: Apache-2.0
// From "n of N done" to what people want to know: time left, tokens a second, not too often.
#pragma once

#include <chrono>
#include <deque>
#include <limits>
#include <optional>
#include <string>

#include "core/run/event.h"
#include "core/run/progress.h"

namespace flashmorph {

class ProgressMeter {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr int kFirst = 20;   ///< units before an estimate is given
  static constexpr int kRecent = 50;  ///< steps whose median counts

  explicit ProgressMeter(std::string job) : job_(std::move(job)) {}

  /// The event to send, at most four times a second, and at the end. Time left: remaining units
  /// times the median duration of the recent ones; with work_left (tokens, where units differ in
  /// size) that divided by tokens a second.
  std::optional<JobProgressEvent> update(const Progress& progress,
                                         std::optional<int64_t> work_left = {},
                                         Clock::time_point now = Clock::now());
  /// Tokens a second since the first update, NaN while unknown.
  double tokens_per_s() const { return tokens_per_s_; }
  const JobProgressEvent& last() const { return event_; }

 private:
  const std::string job_;
  std::optional<Clock::time_point> first_at_, last_at_, told_at_;
  int64_t first_done_ = 0, last_done_ = 0, first_tokens_ = 0;
  std::deque<double> durations_s_;  // of one unit
  double tokens_per_s_ = std::numeric_limits<double>::quiet_NaN();
  JobProgressEvent event_;
};

}  // namespace flashmorph
