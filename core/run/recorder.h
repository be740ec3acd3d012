// SPDX-License-Identifier: Apache-2.0
// The recorder: the one thread that writes the journal and the run file of an open run.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

#include "core/run/error.h"
#include "core/run/record_events.h"
#include "core/run/run_file.h"
#include "core/run/run_folder.h"

namespace flashmorph {

struct RecorderOptions {
  std::chrono::milliseconds commit_every{10000};  ///< at most this often, unless commit() asks
  std::chrono::milliseconds sync_every{1000};     ///< journal to disk
  std::function<void(const RunCommittedEvent&)> on_commit;  ///< called on the recorder thread
  std::function<void(const Error&)>
      on_error;  ///< a write failed: called on the recorder thread; it goes on trying
};

/// Usage of a worker:
///   Recorder recorder(folder, record);            // locks the run
///   recorder.append(GateStepsEvent{...});         // never waits for the disk
///   recorder.edit([&](RunRecord& r) { r.gates.score = ...; });
///   recorder.commit();                            // after a checkpoint, at the end of a stage
///   recorder.close("finished");                   // last commit, compressed; the journal is
///   removed
class Recorder {
 public:
  /// Locks the folder, commits `record` if it is ahead of the file (open_run merged a journal),
  /// starts the thread. Throws Error(run_in_use), Error(disk_full), Error(bad_file).
  Recorder(const RunFolder& folder, RunRecord record, RecorderOptions options = {});
  /// Without close(): commits what there is, state as it is, uncompressed.
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  /// Takes an event over; waits only while more than 64 MiB are queued. Heartbeat, progress, log,
  /// thinned and model events are not recorded. Throws the Error of an event that does not fit the
  /// record only from the next commit() or close().
  /// Throws Error(internal) after close().
  void append(Event event);
  /// Changes the record on the recorder thread in order with the events, then commits. Waits for
  /// the change, and rethrows what it throws.
  void edit(const std::function<void(RunRecord&)>& change);
  /// Commits now and waits. Throws Error(disk_full), Error(bad_file), and errors of events since
  /// the last call.
  RunCommittedEvent commit();
  /// Sets the state, commits compressed, removes journal and lock. Idempotent; only record() and
  /// folder() are of use afterwards.
  RunCommittedEvent close(const std::string& state);
  /// A copy of the record with everything appended so far.
  RunRecord record() const;
  const RunFolder& folder() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace flashmorph
