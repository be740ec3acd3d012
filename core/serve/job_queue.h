// SPDX-License-Identifier: Apache-2.0
// The queue of heavy jobs, one at a time: order, slots, pause, cancel, and every change of state
// told (workbench 3 Select 7-8, workbench 5 job states).
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/run/error.h"
#include "core/run/event.h"
#include "core/run/ids.h"
#include "core/run/progress.h"

namespace flashmorph {

/// Why a job's stop flag was set.
enum class StopCause { none, cancelled, paused, superseded, engine_stops };

/// What a job's work sees of the queue.
struct JobTurn {
  JobId id;
  StopFlag stop;
  std::function<StopCause()> cause;
  std::function<bool()>
      after_checkpoint;  ///< a cancelled training may go on to its next checkpoint
  bool again = false;    ///< it was paused before: go on where it stopped
};

/// How work ended that threw nothing.
enum class WorkEnd { finished, stopped };

struct JobSpec {
  JobId id;
  std::string kind, run, name;  ///< run: handle; name: of its folder
  std::string slot;             ///< evaluations: a newer job in the slot supersedes this one
  std::string set, plan;        ///< evaluations, for the list
  std::string command;
  bool evaluation = false;  ///< may run while a training is paused
  bool pausable = true;
  std::string why_not_pausable;
  std::function<WorkEnd(const JobTurn&)> work;
};

struct JobStatus {
  JobSpec spec;  ///< work is empty
  std::string state, reason;
  StopCause cause = StopCause::none;
  std::optional<JobError> error;
  std::optional<int64_t> freed_bytes;
};

/// Safe from every thread; on_state is called in the order of the changes, inside the queue's lock,
/// and must not call back.
class JobQueue {
 public:
  static constexpr size_t kMostWaiting = 1000;
  static constexpr size_t kMostEnded = 256;

  explicit JobQueue(std::function<void(const JobStateEvent&)> on_state);

  JobId next_id();
  /// Throws Error(busy) when kMostWaiting jobs wait, or the engine stops.
  void check_room() const;
  /// Queues a job; the older jobs in its slot are superseded.
  void add(JobSpec spec);
  /// The state after it, as "cancelling". Throws Error(not_found).
  std::string cancel(JobId id, bool after_checkpoint);
  /// Whether the state will change later. Throws Error(not_found), Error(bad_request) for a job
  /// that cannot be paused.
  bool pause(JobId id, std::string& state);
  std::string resume(JobId id);
  std::vector<JobStatus> list() const;
  std::optional<JobStatus> find(JobId id) const;
  std::optional<JobStatus> running() const;
  /// Whether a job that has not ended writes the run with this handle.
  std::optional<JobId> job_of_run(const std::string& run) const;
  size_t waiting() const;

  /// Short work for the worker before any queued job, as loading a model. Throws Error(busy) naming
  /// the running job, or what it waits for.
  void add_chore(const std::string& what, std::function<void()> chore);

  /// The worker's side: waits for work; nothing when the engine stops and no chore is left.
  struct Task {
    std::function<void()> chore;  ///< or
    std::function<WorkEnd(const JobTurn&)> work;
    JobTurn turn;
  };
  std::optional<Task> take();
  /// After the task. error: what the work threw.
  void done(JobId id, WorkEnd end, std::optional<Error> error, int64_t freed_bytes);
  void chore_done();

  /// Running work is asked to stop, waiting jobs are cancelled, take() ends.
  void stop();

 private:
  struct Entry {
    JobStatus status;
    StopFlag flag;
    bool after_checkpoint = false, again = false;
    bool ended() const;
  };

  Entry& at(JobId id);
  void say(Entry& entry, const std::string& state, const std::string& reason = {});
  void end(Entry& entry, const std::string& state, const std::string& reason = {});
  void ask_to_stop(Entry& entry, StopCause cause, const std::string& reason);
  Entry* next_runnable();
  std::string reason_to_wait(const Entry& entry) const;
  void refresh_reasons();
  void forget_old();

  const std::function<void(const JobStateEvent&)> on_state_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<JobId, Entry> jobs_;
  std::deque<JobId> ended_;
  std::deque<std::function<void()>> chores_;
  std::string chore_;  // what the worker does between jobs; empty: nothing
  JobId running_;
  int64_t last_id_ = 0;
  bool stopping_ = false;
};

}  // namespace flashmorph
