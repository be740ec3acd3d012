// SPDX-License-Identifier: Apache-2.0
// The runs of a session: handles, what is in them, and one recorder per run that is being written.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "core/run/recorder.h"
#include "core/run/run_folder.h"

namespace flashmorph {

/// Safe from every thread.
class RunShelf {
 public:
  /// runs: folder of runs. on_event: commits (run as handle) and log lines of recorders.
  RunShelf(std::filesystem::path runs, std::function<void(const Event&)> on_event);
  ~RunShelf();

  const std::filesystem::path& folder() const { return runs_; }

  /// The handle of a run folder, the same for the same folder.
  std::string handle_of(const std::filesystem::path& run);
  /// Its handle if it has one, else empty.
  std::string known_handle(const std::filesystem::path& run) const;
  /// What a request means by `run`: handle, path, or name in the folder of runs. Throws
  /// Error(not_found).
  std::filesystem::path find(const std::string& run) const;
  /// The path behind a handle; any other word as it is.
  std::string path_or_word(const std::string& word) const;
  void forget(const std::string& run);

  /// A folder for a new run: NAME, or NAME-2, ... when taken; kept for the caller although nothing
  /// is on disk yet. runs: other folder of runs, may be empty. Throws Error(bad_request) for an
  /// impossible name.
  std::filesystem::path reserve(const std::string& name, const std::filesystem::path& runs = {});
  /// Whether anything is there, or promised to somebody.
  bool taken(const std::string& name, const std::filesystem::path& runs = {}) const;

  /// The record as of now: of the open recorder, else of the folder. Throws as open_run.
  RunRecord record(const std::filesystem::path& run) const;
  /// Changes and commits a record, through the open recorder if there is one. Throws as Recorder.
  void edit(const std::filesystem::path& run, const std::function<void(RunRecord&)>& change);

  /// A recorder for a job; edit() goes through it until close_recorder.
  std::shared_ptr<Recorder> open_recorder(const RunFolder& folder, RunRecord record);
  /// Last commit with this state. The recorder is gone afterwards even if this throws.
  void close_recorder(const std::filesystem::path& run, const std::string& state);
  bool is_open(const std::filesystem::path& run) const;

 private:
  std::string key(const std::filesystem::path& run) const;
  RecorderOptions options_for(const std::string& handle);

  const std::filesystem::path runs_;
  const std::function<void(const Event&)> on_event_;
  mutable std::mutex mutex_;    // of the maps
  mutable std::mutex writing_;  // of recorders coming, going and being asked; taken first
  std::map<std::string, std::string> handles_, paths_;  // path to handle, and back
  std::set<std::string> reserved_;
  std::map<std::string, std::shared_ptr<Recorder>> recorders_;
  int64_t last_id_ = 0;
};

/// Where the branches of a run come from: its own checkpoints, else its option `aligned` (looked
/// for in `runs`). Empty: it has none.
std::filesystem::path branches_of_run(const std::filesystem::path& run, const RunRecord& record,
                                      const std::filesystem::path& runs);
/// The run that made the weights of this run, which keeps its evaluations; the run itself when they
/// come from a bare file.
std::filesystem::path weights_run(const std::filesystem::path& run, const RunRecord& record,
                                  const std::filesystem::path& runs);
/// Whether a checkpoint is there to resume from.
bool has_checkpoint(const RunFolder& folder, const std::string& kind);

}  // namespace flashmorph
