// SPDX-License-Identifier: Apache-2.0
// The parts of a serving engine that its methods share.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/serve/clerk.h"
#include "core/serve/job_queue.h"
#include "core/serve/model_holder.h"
#include "core/serve/outbox.h"
#include "core/serve/progress_meter.h"
#include "core/serve/rate_book.h"
#include "core/serve/run_shelf.h"
#include "core/serve/worker_pulse.h"

namespace flashmorph {

/// The newest progress of each job, for job.list.
class ProgressBoard {
 public:
  void note(const JobProgressEvent& event) {
    const std::lock_guard guard(mutex_);
    newest_[event.job] = event;
    if (newest_.size() > 2000) newest_.erase(newest_.begin());
  }
  std::optional<JobProgressEvent> of(const std::string& job) const {
    const std::lock_guard guard(mutex_);
    const auto found = newest_.find(job);
    return found == newest_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::string, JobProgressEvent> newest_;
};

struct Engine {
  explicit Engine(const std::filesystem::path& runs)
      : shelf(runs, [this](const Event& event) { outbox.tell(event); }),
        queue([this](const JobStateEvent& event) { outbox.tell(event); }),
        model([this](const ModelStateEvent& event) { outbox.tell(event); }) {}

  const std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
  Outbox outbox;
  RunShelf shelf;
  JobQueue queue;
  ModelHolder model;  ///< the worker's, but for info()
  RateBook rates;
  WorkerPulse pulse;
  ProgressBoard progress;
  std::atomic<int64_t> gpu_used_bytes{-1};  ///< sampled once a second; -1: no GPU in use
  StopFlag leaving;                         ///< the engine stops: chores read it

  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
};

}  // namespace flashmorph
