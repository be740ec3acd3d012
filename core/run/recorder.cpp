// SPDX-License-Identifier: Apache-2.0
#include "core/run/recorder.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "core/run/error.h"
#include "core/run/journal.h"

namespace flashmorph {

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kMaxQueuedBytes = size_t{64} << 20;

// Rough size of a queued event: what matters are the rows of gates and layers.
size_t weight(const Event& event) {
  size_t numbers = 32;
  if (const auto* align = std::get_if<AlignStepsEvent>(&event))
    for (const auto& row : align->layer_loss) numbers += row.size();
  if (const auto* gates = std::get_if<GateStepsEvent>(&event))
    for (const auto& row : gates->alpha) numbers += 2 * row.size();
  if (const auto* cells = std::get_if<EvalCellsEvent>(&event))
    for (const auto& cell : cells->cells) numbers += 8 + cell.new_trials.size();
  return 8 * numbers;
}

}  // namespace

// The record is changed by the thread alone and under the mutex; journal and files belong to the
// thread.
struct Recorder::State {
  State(const RunFolder& at, RunRecord start, RecorderOptions with)
      : folder(at), options(std::move(with)), lock(std::in_place, at), record(std::move(start)) {}

  const RunFolder folder;
  const RecorderOptions options;
  std::optional<RunLock> lock;  // given back by close()

  std::mutex asking;  // one request at a time
  mutable std::mutex mutex;
  std::condition_variable wake, room, idle;
  RunRecord record;
  std::deque<Event> queue;
  size_t queued_bytes = 0;
  std::function<void(RunRecord&)> change;  // of edit()
  bool quit = false, closed = false, compress = false;
  uint64_t asked = 0, answered = 0;  // requests that somebody waits for
  std::exception_ptr answer;         // of the request answered last
  std::optional<Error> trouble;      // of events since the last commit()
  RunCommittedEvent committed;
  std::thread thread;

  std::unique_ptr<Journal> journal;  // of the thread alone
  bool dirty = false;
  Clock::time_point last_commit = Clock::now(), last_sync = Clock::now();

  // Disk work, done without the lock. Only the thread changes the record, so reading it here needs
  // none.
  void commit_now(bool packed) {
    RunRecord next = record;
    next.revision += 1;
    const RunFileInfo info = write_run_file(folder.run_file(), next, packed);
    try {
      journal = std::make_unique<Journal>(folder.journal(), next.revision);
    } catch (const Error& error) {
      told(error);  // the old journal goes on; rows of an older revision are merged all the same
    }
    const std::lock_guard guard(mutex);
    record.revision = next.revision;
    committed = {folder.path.filename().string(), next.revision, info.bytes, info.sha256};
    last_commit = Clock::now();
    dirty = false;
  }

  void told(const Error& error) {
    {
      const std::lock_guard guard(mutex);
      trouble = error;
    }
    if (options.on_error) options.on_error(error);
  }

  // Events enter the record under the lock and the journal without it.
  void take(const std::deque<Event>& events, const std::vector<std::optional<Error>>& refused) {
    for (size_t i = 0; i < events.size(); ++i) {
      if (refused[i]) {
        told(*refused[i]);
        continue;
      }
      dirty = true;
      try {
        journal->append(events[i]);
      } catch (const Error& error) {
        told(error);
      }
    }
  }

  void serve(uint64_t request, const std::function<void(RunRecord&)>& what, bool packed) {
    std::exception_ptr thrown;
    try {
      if (what) {
        RunRecord changed = record;  // a change that throws leaves the record alone
        what(changed);
        const std::lock_guard guard(mutex);
        record = std::move(changed);
      }
      commit_now(packed);
    } catch (...) {
      thrown = std::current_exception();
    }
    if (!thrown && options.on_commit) options.on_commit(committed);
    const std::lock_guard guard(mutex);
    answer = thrown;
    answered = request;
    idle.notify_all();
  }

  void loop() {
    for (;;) {
      std::deque<Event> events;
      std::vector<std::optional<Error>> refused;
      std::function<void(RunRecord&)> what;
      uint64_t request = 0;
      bool pending = false, packed = false;
      {
        std::unique_lock guard(mutex);
        wake.wait_for(guard, options.sync_every,
                      [&] { return quit || !queue.empty() || asked != answered; });
        if (quit && queue.empty() && asked == answered) return;
        events.swap(queue);
        queued_bytes = 0;
        room.notify_all();
        for (const Event& event : events) {
          refused.emplace_back();
          try {
            apply_event(record, event);
          } catch (const Error& error) {
            refused.back() = error;
          }
        }
        pending = asked != answered;
        request = asked;
        what = std::move(change);
        change = nullptr;
        packed = compress;
      }
      take(events, refused);
      const auto now = Clock::now();
      if (now - last_sync >= options.sync_every) {
        try {
          journal->sync();
        } catch (const Error& error) {
          told(error);
        }
        last_sync = now;
      }
      if (pending) {
        serve(request, what, packed);
      } else if (dirty && now - last_commit >= options.commit_every) {
        try {
          commit_now(false);
          if (options.on_commit) options.on_commit(committed);
        } catch (const Error& error) {
          told(error);
          last_commit = now;  // tried; again after the same while
        }
      }
    }
  }

  // Waits until the thread has done `what` in order with the events. Throws what it threw.
  RunCommittedEvent ask(std::function<void(RunRecord&)> what, bool packed) {
    const std::lock_guard one_at_a_time(asking);
    std::unique_lock guard(mutex);
    if (quit) throw Error("run", ErrorCode::internal, "the recorder of this run is closed");
    change = std::move(what);
    compress = packed;
    ++asked;
    wake.notify_all();
    idle.wait(guard, [&] { return asked == answered; });
    if (answer) {
      const std::exception_ptr thrown = answer;
      answer = nullptr;
      std::rethrow_exception(thrown);
    }
    return committed;
  }

  void stop_thread() {
    {
      const std::lock_guard guard(mutex);
      quit = true;
    }
    wake.notify_all();
    room.notify_all();
    if (thread.joinable()) thread.join();
  }
};

Recorder::Recorder(const RunFolder& folder, RunRecord record, RecorderOptions options)
    : state_(std::make_unique<State>(folder, std::move(record), std::move(options))) {
  State& s = *state_;
  // What open_run merged from a journal goes into the file before that journal is replaced.
  if (std::filesystem::exists(folder.journal()))
    s.commit_now(false);
  else
    s.journal = std::make_unique<Journal>(folder.journal(), s.record.revision);
  if (!s.journal) throw Error(*s.trouble);
  s.thread = std::thread([&s] { s.loop(); });
}

Recorder::~Recorder() {
  State& s = *state_;
  if (!s.closed) {
    try {
      commit();
    } catch (const std::exception&) {
      // The journal still holds what could not be committed.
    }
  }
  s.stop_thread();
}

void Recorder::append(Event event) {
  if (!is_recorded(event)) return;
  State& s = *state_;
  std::unique_lock guard(s.mutex);
  s.room.wait(guard, [&] { return s.queued_bytes < kMaxQueuedBytes || s.quit; });
  if (s.quit) throw Error("run", ErrorCode::internal, "the recorder of this run is closed");
  s.queued_bytes += weight(event);
  s.queue.push_back(std::move(event));
  s.wake.notify_all();
}

void Recorder::edit(const std::function<void(RunRecord&)>& change) { state_->ask(change, false); }

RunCommittedEvent Recorder::commit() {
  State& s = *state_;
  RunCommittedEvent done = s.ask({}, false);
  const std::lock_guard guard(s.mutex);
  if (s.trouble) {
    const Error error = *s.trouble;
    s.trouble.reset();
    throw error;
  }
  return done;
}

RunCommittedEvent Recorder::close(const std::string& state) {
  State& s = *state_;
  if (s.closed) return s.committed;
  RunCommittedEvent done = s.ask([&](RunRecord& record) { record.state = state; }, true);
  s.stop_thread();  // journal and lock are ours now
  s.closed = true;
  s.journal.reset();
  std::error_code ignored;
  std::filesystem::remove(s.folder.journal(), ignored);
  s.lock.reset();
  if (s.trouble) {
    const Error error = *s.trouble;
    s.trouble.reset();
    throw error;
  }
  return done;
}

RunRecord Recorder::record() const {
  const State& s = *state_;
  std::unique_lock guard(s.mutex);
  RunRecord copy = s.record;
  for (const Event& event : s.queue) {
    try {
      apply_event(copy, event);
    } catch (const Error&) {
      // The next commit() says so.
    }
  }
  return copy;
}

const RunFolder& Recorder::folder() const { return state_->folder; }

}  // namespace flashmorph
