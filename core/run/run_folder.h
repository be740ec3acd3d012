// SPDX-License-Identifier: Apache-2.0
// The folder of a run: run.fmrun, journal.jsonl, notes.json, checkpoints/, exports/, engine.log
// (workbench 6).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "core/run/run_record.h"

namespace flashmorph {

/// Where things lie in a run folder.
struct RunFolder {
  std::filesystem::path path;

  std::filesystem::path run_file() const { return path / "run.fmrun"; }
  std::filesystem::path journal() const { return path / "journal.jsonl"; }
  std::filesystem::path notes() const { return path / "notes.json"; }
  std::filesystem::path lock() const { return path / "run.lock"; }
  std::filesystem::path checkpoints() const { return path / "checkpoints"; }
  std::filesystem::path exports() const { return path / "exports"; }
  std::filesystem::path engine_log() const { return path / "engine.log"; }
};

/// $XDG_DATA_HOME/flashmorph/runs, else ~/.local/share/flashmorph/runs.
std::filesystem::path default_runs_folder();
/// Whether text can be a folder name of a run: [A-Za-z0-9._-], 1 to 100 characters, no leading dot
/// or dash.
bool is_run_name(const std::string& text);

/// Makes runs/NAME with its folders and a first committed run file (revision 1). A taken or empty
/// name gets a number: gates-2. Throws Error(bad_request) for an impossible name, Error(disk_full),
/// Error(bad_file).
RunFolder create_run(const std::filesystem::path& runs, const std::string& name, RunRecord& record);

struct OpenedRun {
  RunRecord record;          ///< run file with the newer rows of the journal
  int64_t journal_rows = 0;  ///< events merged from the journal: more than 0 means that the last
                             ///< engine did not close the run
};
/// Reads a run without locking it. folder: the run folder or its run.fmrun. Throws as
/// read_run_file.
OpenedRun open_run(const std::filesystem::path& folder);
/// Names of the runs in a folder of runs, sorted; empty if there is none.
std::vector<std::string> list_runs(const std::filesystem::path& runs);

/// Keeps a second engine from writing the same run. Held by the operating system for the life of
/// the process, so a dead engine's lock is free at once; the file names the holder's pid.
class RunLock {
 public:
  /// Throws Error(run_in_use) naming the pid, Error(bad_file).
  explicit RunLock(const RunFolder& folder);
  ~RunLock();
  RunLock(RunLock&& other) noexcept;
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;
  RunLock& operator=(RunLock&&) = delete;

 private:
  int file_ = -1;
  std::filesystem::path path_;
};

/// Name and notes of a run, changed by the user at any time.
struct RunNotes {
  std::string name, notes;
};
RunNotes read_notes(
    const RunFolder& folder);  ///< a missing file is empty notes; throws Error(bad_file)
void write_notes(const RunFolder& folder, const RunNotes& notes);

}  // namespace flashmorph
