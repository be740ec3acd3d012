// SPDX-License-Identifier: Apache-2.0
#include "core/serve/job_queue.h"

#include <algorithm>

#include <fmt/format.h>

namespace flashmorph {

namespace {

bool is_end(const std::string& state) {
  return state == "finished" || state == "failed" || state == "cancelled" || state == "superseded";
}

}  // namespace

bool JobQueue::Entry::ended() const { return is_end(status.state); }

JobQueue::JobQueue(std::function<void(const JobStateEvent&)> on_state)
    : on_state_(std::move(on_state)) {}

JobId JobQueue::next_id() {
  const std::lock_guard guard(mutex_);
  return {++last_id_};
}

void JobQueue::say(Entry& entry, const std::string& state, const std::string& reason) {
  JobStatus& status = entry.status;
  status.state = state;
  status.reason = reason;
  JobStateEvent event;
  event.job = status.spec.id.to_string();
  event.state = state;
  event.kind = status.spec.kind;
  event.run = status.spec.run;
  event.reason = reason;
  event.freed_bytes = status.freed_bytes;
  event.error = status.error;
  on_state_(event);
}

void JobQueue::end(Entry& entry, const std::string& state, const std::string& reason) {
  say(entry, state, reason);
  entry.status.spec.work = nullptr;  // lets go of what it holds
  ended_.push_back(entry.status.spec.id);
}

void JobQueue::ask_to_stop(Entry& entry, StopCause cause, const std::string& reason) {
  if (entry.status.cause == StopCause::none || entry.status.cause == StopCause::paused)
    entry.status.cause = cause;
  entry.flag.set();
  if (cause != StopCause::paused && entry.status.state != "cancelling")
    say(entry, "cancelling", reason);
}

void JobQueue::check_room() const {
  const std::lock_guard guard(mutex_);
  if (stopping_) throw Error("serve", ErrorCode::busy, "the engine is stopping");
  if (jobs_.size() - ended_.size() >= kMostWaiting)
    throw Error("serve", ErrorCode::busy, fmt::format("{} jobs are waiting", kMostWaiting),
                "cancel some first");
}

void JobQueue::add(JobSpec spec) {
  const std::lock_guard guard(mutex_);
  const JobId id = spec.id;
  if (!spec.slot.empty())
    for (auto& [other_id, other] : jobs_) {
      if (other.ended() || other.status.spec.slot != spec.slot) continue;
      const std::string reason = "superseded by " + id.to_string();
      if (other_id == running_)
        ask_to_stop(other, StopCause::superseded, reason);
      else
        end(other, "superseded", reason);
    }
  Entry& entry = jobs_[id];
  entry.status.spec = std::move(spec);
  if (stopping_) {
    end(entry, "cancelled", "the engine is stopping");
  } else {
    say(entry, "queued", reason_to_wait(entry));
    refresh_reasons();
  }
  forget_old();
  changed_.notify_all();
}

JobQueue::Entry& JobQueue::at(JobId id) {
  const auto found = jobs_.find(id);
  if (found == jobs_.end())
    throw Error("serve", ErrorCode::not_found, fmt::format("there is no job {}", id.to_string()),
                "job.list names the jobs of this session");
  return found->second;
}

std::string JobQueue::cancel(JobId id, bool after_checkpoint) {
  const std::lock_guard guard(mutex_);
  Entry& entry = at(id);
  if (entry.ended()) return entry.status.state;
  if (id == running_) {
    // "now" after "after_checkpoint" is the sharper wish.
    entry.after_checkpoint = after_checkpoint && (entry.after_checkpoint || !entry.flag.is_set());
    ask_to_stop(entry, StopCause::cancelled, {});
    return entry.status.state;
  }
  entry.status.freed_bytes = 0;
  end(entry, "cancelled");
  refresh_reasons();
  changed_.notify_all();
  return entry.status.state;
}

bool JobQueue::pause(JobId id, std::string& state) {
  const std::lock_guard guard(mutex_);
  Entry& entry = at(id);
  if (!entry.ended() && !entry.status.spec.pausable)
    throw Error("serve", ErrorCode::bad_request,
                fmt::format("job {} ({}) cannot be paused", id.to_string(), entry.status.spec.kind),
                entry.status.spec.why_not_pausable);
  bool pending = false;
  if (id == running_) {
    if (entry.status.state == "running") {
      ask_to_stop(entry, StopCause::paused, {});
      pending = true;
    }
  } else if (entry.status.state == "queued") {
    say(entry, "paused");
    refresh_reasons();
  }
  state = entry.status.state;
  return pending;
}

std::string JobQueue::resume(JobId id) {
  const std::lock_guard guard(mutex_);
  Entry& entry = at(id);
  if (entry.status.state == "paused") {
    entry.status.freed_bytes.reset();
    say(entry, "queued", reason_to_wait(entry));
    refresh_reasons();
    changed_.notify_all();
  } else if (id == running_ && entry.status.cause == StopCause::paused) {
    entry.again = true;  // it is still on its way to its checkpoint: it goes on from there
    entry.status.cause = StopCause::none;
  }
  return entry.status.state;
}

std::vector<JobStatus> JobQueue::list() const {
  const std::lock_guard guard(mutex_);
  std::vector<JobStatus> all;
  for (const auto& [id, entry] : jobs_) {
    all.push_back(entry.status);
    all.back().spec.work = nullptr;
  }
  return all;
}

std::optional<JobStatus> JobQueue::find(JobId id) const {
  const std::lock_guard guard(mutex_);
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return std::nullopt;
  JobStatus status = found->second.status;
  status.spec.work = nullptr;
  return status;
}

std::optional<JobStatus> JobQueue::running() const {
  const std::lock_guard guard(mutex_);
  const auto found = jobs_.find(running_);
  if (found == jobs_.end()) return std::nullopt;
  JobStatus status = found->second.status;
  status.spec.work = nullptr;
  return status;
}

std::optional<JobId> JobQueue::job_of_run(const std::string& run) const {
  const std::lock_guard guard(mutex_);
  for (const auto& [id, entry] : jobs_)
    if (!entry.ended() && entry.status.spec.run == run) return id;
  return std::nullopt;
}

size_t JobQueue::waiting() const {
  const std::lock_guard guard(mutex_);
  return jobs_.size() - ended_.size() - (running_.value ? 1 : 0);
}

void JobQueue::add_chore(const std::string& what, std::function<void()> chore) {
  const std::lock_guard guard(mutex_);
  const auto running = jobs_.find(running_);
  if (running != jobs_.end())
    throw Error("serve", ErrorCode::busy,
                fmt::format("job {} ({}) is running", running_.to_string(),
                            running->second.status.spec.kind),
                "wait for it, pause or cancel it");
  if (!chore_.empty())
    throw Error("serve", ErrorCode::busy, fmt::format("the engine is {}", chore_), "wait for it");
  if (stopping_) throw Error("serve", ErrorCode::busy, "the engine is stopping");
  chore_ = what;
  chores_.push_back(std::move(chore));
  changed_.notify_all();
}

void JobQueue::chore_done() {
  const std::lock_guard guard(mutex_);
  chore_.clear();
}

// Slots first, then in order of asking; a paused training keeps the others' turn.
JobQueue::Entry* JobQueue::next_runnable() {
  const bool held = std::any_of(jobs_.begin(), jobs_.end(), [](const auto& one) {
    return one.second.status.state == "paused" && !one.second.status.spec.evaluation;
  });
  Entry* first = nullptr;
  for (auto& [id, entry] : jobs_) {
    if (entry.status.state != "queued" || (held && !entry.status.spec.evaluation)) continue;
    if (!entry.status.spec.slot.empty()) return &entry;
    if (!first) first = &entry;
  }
  return first;
}

std::string JobQueue::reason_to_wait(const Entry& entry) const {
  const auto named = [](const Entry& other) {
    const JobSpec& spec = other.status.spec;
    return fmt::format("{} ({}{}{})", spec.id.to_string(), spec.kind, spec.name.empty() ? "" : " ",
                       spec.name);
  };
  const auto running = jobs_.find(running_);
  if (running != jobs_.end() && &running->second != &entry)
    return "waits for " + named(running->second);
  if (!entry.status.spec.evaluation)
    for (const auto& [id, other] : jobs_)
      if (&other != &entry && other.status.state == "paused" && !other.status.spec.evaluation)
        return fmt::format("waits for {}, which is paused", named(other));
  for (const auto& [id, other] : jobs_)
    if (&other != &entry && other.status.state == "queued" &&
        (id < entry.status.spec.id || !other.status.spec.slot.empty()) &&
        entry.status.spec.slot.empty())
      return "waits for " + named(other);
  return chore_.empty() ? std::string() : "waits: the engine is " + chore_;
}

void JobQueue::refresh_reasons() {
  for (auto& [id, entry] : jobs_) {
    if (entry.status.state != "queued") continue;
    const std::string reason = reason_to_wait(entry);
    if (!reason.empty() && reason != entry.status.reason) say(entry, "queued", reason);
  }
}

void JobQueue::forget_old() {
  while (ended_.size() > kMostEnded) {
    jobs_.erase(ended_.front());
    ended_.pop_front();
  }
}

std::optional<JobQueue::Task> JobQueue::take() {
  std::unique_lock guard(mutex_);
  Entry* entry = nullptr;
  changed_.wait(
      guard, [&] { return !chores_.empty() || stopping_ || (entry = next_runnable()) != nullptr; });
  if (!chores_.empty()) {
    Task task;
    task.chore = std::move(chores_.front());
    chores_.pop_front();
    return task;
  }
  if (stopping_) return std::nullopt;
  JobStatus& status = entry->status;
  running_ = status.spec.id;
  entry->flag = StopFlag();
  entry->after_checkpoint = false;
  status.cause = StopCause::none;
  say(*entry, "running");
  refresh_reasons();
  Task task;
  task.work = status.spec.work;
  const JobId id = running_;
  task.turn = {id, entry->flag,
               [this, id] {
                 const std::lock_guard lock(mutex_);
                 return at(id).status.cause;
               },
               [this, id] {
                 const std::lock_guard lock(mutex_);
                 return at(id).after_checkpoint;
               },
               entry->again};
  return task;
}

void JobQueue::done(JobId id, WorkEnd how, std::optional<Error> error, int64_t freed_bytes) {
  const std::lock_guard guard(mutex_);
  Entry& entry = at(id);
  JobStatus& status = entry.status;
  running_ = {};
  const bool stopped = error ? error->code() == ErrorCode::stopped : how == WorkEnd::stopped;
  if (error && !stopped) {
    status.error =
        JobError{static_cast<int>(error->code()), error->stage(), error->message(), error->hint()};
    status.freed_bytes = freed_bytes;
    end(entry, "failed");
  } else if (!stopped) {
    end(entry, "finished");
  } else {
    status.freed_bytes = freed_bytes;
    switch (status.cause) {
      case StopCause::paused:
        entry.again = true;
        say(entry, "paused");
        break;
      case StopCause::none:  // resumed before it had stopped
        entry.again = true;
        status.freed_bytes.reset();
        say(entry, "queued");
        break;
      case StopCause::superseded:
        end(entry, "superseded", status.reason);
        break;
      case StopCause::engine_stops:
        end(entry, "cancelled", "the engine is stopping");
        break;
      case StopCause::cancelled:
        end(entry, "cancelled");
        break;
    }
  }
  refresh_reasons();
  forget_old();
  changed_.notify_all();
}

void JobQueue::stop() {
  const std::lock_guard guard(mutex_);
  if (stopping_) return;
  stopping_ = true;
  for (auto& [id, entry] : jobs_) {
    if (entry.ended()) continue;
    if (id == running_)
      ask_to_stop(entry, StopCause::engine_stops, "the engine is stopping");
    else if (entry.status.state == "queued")
      end(entry, "cancelled", "the engine is stopping");
  }
  changed_.notify_all();
}

}  // namespace flashmorph
