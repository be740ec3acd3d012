// SPDX-License-Identifier: Apache-2.0
#include "core/serve/progress_meter.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace flashmorph {

std::optional<JobProgressEvent> ProgressMeter::update(const Progress& progress,
                                                      std::optional<int64_t> work_left,
                                                      Clock::time_point now) {
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  if (!first_at_) {
    first_at_ = now;
    first_done_ = progress.done;
    first_tokens_ = progress.tokens;
  } else if (progress.done > last_done_) {
    durations_s_.push_back(seconds(now - *last_at_) /
                           static_cast<double>(progress.done - last_done_));
    if (durations_s_.size() > kRecent) durations_s_.pop_front();
  }
  last_at_ = now;
  last_done_ = progress.done;
  const double elapsed = seconds(now - *first_at_);
  if (progress.tokens > first_tokens_ && elapsed > 0)
    tokens_per_s_ = static_cast<double>(progress.tokens - first_tokens_) / elapsed;
  event_ = {job_,
            progress.what,
            progress.done,
            progress.total,
            std::numeric_limits<double>::quiet_NaN(),
            tokens_per_s_};
  if (progress.done - first_done_ >= kFirst) {
    if (work_left) {
      event_.eta_s = static_cast<double>(*work_left) / tokens_per_s_;
    } else if (!durations_s_.empty()) {
      std::vector<double> sorted(durations_s_.begin(), durations_s_.end());
      std::nth_element(sorted.begin(), sorted.begin() + static_cast<long>(sorted.size() / 2),
                       sorted.end());
      event_.eta_s =
          sorted[sorted.size() / 2] * static_cast<double>(progress.total - progress.done);
    }
  }
  if (progress.done >= progress.total) event_.eta_s = 0;
  if (told_at_ && now - *told_at_ < std::chrono::milliseconds(250) &&
      progress.done < progress.total)
    return std::nullopt;
  told_at_ = now;
  return event_;
}

}  // namespace flashmorph
