// SPDX-License-Identifier: Apache-2.0
#include "core/run/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/run/file_io.h"
#include "core/run/journal.h"
#include "core/run/record_events.h"
#include "core/run/run_file.h"
#include "core/run/strict_json.h"

namespace flashmorph {

namespace fs = std::filesystem;

fs::path default_runs_folder() {
  const char* data = std::getenv("XDG_DATA_HOME");
  if (data && *data == '/') return fs::path(data) / "flashmorph" / "runs";
  const char* home = std::getenv("HOME");
  return fs::path(home ? home : ".") / ".local" / "share" / "flashmorph" / "runs";
}

bool is_run_name(const std::string& text) {
  if (text.empty() || text.size() > 100 || text.front() == '.' || text.front() == '-') return false;
  return std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
           c == '_' || c == '-';
  });
}

RunFolder create_run(const fs::path& runs, const std::string& name, RunRecord& record) {
  const std::string wanted = name.empty() ? record.kind : name;
  if (!is_run_name(wanted))
    throw Error("run", ErrorCode::bad_request,
                fmt::format("{} cannot be the name of a run", quote(wanted)),
                "use letters, digits, '.', '_' and '-', not starting with '.' or '-'");
  std::error_code failure;
  fs::create_directories(runs, failure);
  if (failure) refuse_file_operation("cannot make the folder of runs", runs, failure.value());
  RunFolder folder;
  for (int n = 1;; ++n) {
    folder.path = runs / (n == 1 ? wanted : fmt::format("{}-{}", wanted, n));
    if (fs::create_directory(folder.path, failure)) break;
    if (failure) refuse_file_operation("cannot make the run folder", folder.path, failure.value());
  }
  try {
    for (const fs::path& part : {folder.checkpoints(), folder.exports()})
      if (!fs::create_directory(part, failure) && failure)
        refuse_file_operation("cannot make the folder", part, failure.value());
    record.revision = 1;
    write_run_file(folder.run_file(), record);
  } catch (...) {
    fs::remove_all(folder.path, failure);
    throw;
  }
  return folder;
}

OpenedRun open_run(const fs::path& given) {
  const RunFolder folder{given.filename() == "run.fmrun" ? given.parent_path() : given};
  OpenedRun run{read_run_file(folder.run_file()), 0};
  const std::optional<JournalContent> journal = read_journal(folder.journal());
  // A journal of an older revision is what a crash left between renaming the run file and starting
  // the new journal: its rows are in the file already, and applying them again changes nothing.
  // Only a state would be set back.
  if (!journal || journal->revision > run.record.revision) return run;
  const bool older = journal->revision < run.record.revision;
  for (const Event& event : journal->events) {
    if (older && std::holds_alternative<JobStateEvent>(event)) continue;
    try {
      apply_event(run.record, event);
      ++run.journal_rows;
    } catch (const Error&) {
      // A row that does not fit says nothing about the others.
    }
  }
  return run;
}

std::vector<std::string> list_runs(const fs::path& runs) {
  std::vector<std::string> names;
  std::error_code failure;
  for (const fs::directory_entry& entry : fs::directory_iterator(runs, failure))
    if (fs::exists(RunFolder{entry.path()}.run_file(), failure))
      names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

RunLock::RunLock(const RunFolder& folder) : path_(folder.lock()) {
  for (;;) {
    file_ = open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (file_ < 0) refuse_file_operation("cannot lock the run with", path_, errno);
    if (flock(file_, LOCK_EX | LOCK_NB) != 0) break;
    // The holder before may have removed the file between our open and our lock: then another has a
    // new one.
    struct stat mine {
    }, there{};
    if (fstat(file_, &mine) == 0 && stat(path_.c_str(), &there) == 0 &&
        mine.st_ino == there.st_ino && mine.st_dev == there.st_dev) {
      const std::string pid = std::to_string(getpid());
      // If this fails only the name of the holder is lost; the lock itself holds.
      if (ftruncate(file_, 0) == 0) [[maybe_unused]]
        const ssize_t written = pwrite(file_, pid.data(), pid.size(), 0);
      return;
    }
    close(file_);
  }
  {
    char pid[32] = {};
    const ssize_t got = pread(file_, pid, sizeof(pid) - 1, 0);
    close(file_);
    file_ = -1;
    throw Error(
        "run", ErrorCode::run_in_use,
        fmt::format("run {} is being written by process {}", folder.path.filename().string(),
                    std::string(pid, got > 0 ? static_cast<size_t>(got) : 0)),
        "wait for it, or stop it first");
  }
}

RunLock::~RunLock() {
  if (file_ < 0) return;
  std::error_code ignored;
  fs::remove(path_, ignored);
  close(file_);
}

RunLock::RunLock(RunLock&& other) noexcept : file_(other.file_), path_(std::move(other.path_)) {
  other.file_ = -1;
}

RunNotes read_notes(const RunFolder& folder) {
  if (!fs::exists(folder.notes())) return {};
  const std::string where = folder.notes().string();
  const nlohmann::json json =
      read_strict_json(read_whole_file(folder.notes(), 4 << 20), where, "run", ErrorCode::bad_file);
  StrictFields fields(json, where, "run", ErrorCode::bad_file);
  return {fields.text_or("name", "", 1000), fields.text_or("notes", "", 1 << 20)};
}

void write_notes(const RunFolder& folder, const RunNotes& notes) {
  write_file_atomic(folder.notes(),
                    nlohmann::json{{"name", notes.name}, {"notes", notes.notes}}.dump(
                        1, ' ', false, nlohmann::json::error_handler_t::replace) +
                        "\n");
}

}  // namespace flashmorph
