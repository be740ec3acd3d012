// SPDX-License-Identifier: Apache-2.0
#include "core/serve/run_shelf.h"

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/run/ids.h"
#include "core/run/strict_json.h"

namespace flashmorph {

namespace fs = std::filesystem;

RunShelf::RunShelf(fs::path runs, std::function<void(const Event&)> on_event)
    : runs_(std::move(runs)), on_event_(std::move(on_event)) {}

RunShelf::~RunShelf() = default;

std::string RunShelf::key(const fs::path& run) const {
  std::error_code ignored;
  fs::path path = fs::weakly_canonical(run, ignored);
  if (!path.has_filename()) path = path.parent_path();
  return path.string();
}

std::string RunShelf::handle_of(const fs::path& run) {
  const std::string path = key(run);
  const std::lock_guard guard(mutex_);
  std::string& handle = handles_[path];
  if (handle.empty()) {
    handle = RunId{++last_id_}.to_string();
    paths_[handle] = path;
  }
  return handle;
}

std::string RunShelf::known_handle(const fs::path& run) const {
  const std::string path = key(run);
  const std::lock_guard guard(mutex_);
  const auto found = handles_.find(path);
  return found == handles_.end() ? std::string() : found->second;
}

fs::path RunShelf::find(const std::string& run) const {
  {
    const std::lock_guard guard(mutex_);
    if (const auto found = paths_.find(run); found != paths_.end()) return found->second;
  }
  if (!run.empty() && run.find('\0') == std::string::npos)
    for (const fs::path& candidate : {runs_ / run, fs::path(run)}) {
      std::error_code ignored;
      if ((is_run_name(run) || candidate.is_absolute()) &&
          fs::exists(RunFolder{candidate}.run_file(), ignored))
        return key(candidate);
    }
  throw Error("run", ErrorCode::not_found,
              fmt::format("there is no run {} in {}", quote(run, 200), runs_.string()),
              "run.list names the runs; a path must be absolute");
}

std::string RunShelf::path_or_word(const std::string& word) const {
  const std::lock_guard guard(mutex_);
  const auto found = paths_.find(word);
  return found == paths_.end() ? word : found->second;
}

void RunShelf::forget(const std::string& run) {
  const std::string path = key(find(run));
  const std::lock_guard guard(mutex_);
  if (const auto found = handles_.find(path); found != handles_.end()) {
    paths_.erase(found->second);
    handles_.erase(found);
  }
}

bool RunShelf::taken(const std::string& name, const fs::path& runs) const {
  const fs::path path = (runs.empty() ? runs_ : runs) / name;
  std::error_code ignored;
  if (fs::exists(path, ignored)) return true;
  const std::lock_guard guard(mutex_);
  return reserved_.count(key(path)) > 0;
}

fs::path RunShelf::reserve(const std::string& name, const fs::path& runs) {
  if (!is_run_name(name))
    throw Error("run", ErrorCode::bad_request,
                fmt::format("{} cannot be the name of a run", quote(name)),
                "use letters, digits, '.', '_' and '-', not starting with '.' or '-'");
  for (int n = 1;; ++n) {
    const std::string one = n == 1 ? name : fmt::format("{}-{}", name, n);
    if (taken(one, runs)) continue;
    const fs::path path = key((runs.empty() ? runs_ : runs) / one);
    const std::lock_guard guard(mutex_);
    if (reserved_.insert(path.string()).second) return path;
  }
}

RunRecord RunShelf::record(const fs::path& run) const {
  const std::lock_guard writing(writing_);
  if (const auto found = recorders_.find(key(run)); found != recorders_.end())
    return found->second->record();
  return open_run(run).record;
}

void RunShelf::edit(const fs::path& run, const std::function<void(RunRecord&)>& change) {
  const std::lock_guard writing(writing_);
  if (const auto found = recorders_.find(key(run)); found != recorders_.end()) {
    found->second->edit(change);
    return;
  }
  const RunFolder folder{key(run)};
  RunRecord now = open_run(folder.path).record;
  const std::string state = now.state;
  Recorder recorder(folder, std::move(now), options_for(handle_of(folder.path)));
  recorder.edit(change);
  recorder.close(state);
}

RecorderOptions RunShelf::options_for(const std::string& handle) {
  RecorderOptions options;
  options.on_commit = [this, handle](const RunCommittedEvent& commit) {
    RunCommittedEvent told = commit;
    told.run = handle;
    on_event_(told);
  };
  options.on_error = [this](const Error& error) {
    on_event_(LogEvent{"error", error.message(), {}});
  };
  return options;
}

std::shared_ptr<Recorder> RunShelf::open_recorder(const RunFolder& folder, RunRecord now) {
  const std::lock_guard writing(writing_);
  auto recorder =
      std::make_shared<Recorder>(folder, std::move(now), options_for(handle_of(folder.path)));
  recorders_[key(folder.path)] = recorder;
  return recorder;
}

void RunShelf::close_recorder(const fs::path& run, const std::string& state) {
  const std::lock_guard writing(writing_);
  const auto found = recorders_.find(key(run));
  if (found == recorders_.end()) return;
  const std::shared_ptr<Recorder> recorder = found->second;
  recorders_.erase(found);
  recorder->close(state);
}

bool RunShelf::is_open(const fs::path& run) const {
  const std::lock_guard writing(writing_);
  return recorders_.count(key(run)) > 0;
}

fs::path branches_of_run(const fs::path& run, const RunRecord& record, const fs::path& runs) {
  const RunFolder folder{run};
  const fs::path own = folder.checkpoints() / "branches.safetensors";
  std::error_code ignored;
  if (fs::exists(own, ignored)) return own;
  const auto aligned = record.config.find("aligned");
  if (aligned == record.config.end() || !aligned->is_string()) return {};
  const std::string word = aligned->get<std::string>();
  if (word.empty()) return {};
  if (fs::is_regular_file(word, ignored)) return word;
  // Its folder of runs, the session's, and the folder this run lies in.
  const std::string its_own = record.config.value("runs", std::string());
  for (const fs::path& candidate :
       {fs::path(word), fs::path(its_own) / word, runs / word, run.parent_path() / word})
    if (const fs::path file = RunFolder{candidate}.checkpoints() / "branches.safetensors";
        fs::exists(file, ignored))
      return file;
  return {};
}

fs::path weights_run(const fs::path& run, const RunRecord& record, const fs::path& runs) {
  const fs::path file = branches_of_run(run, record, runs);
  if (file.filename() != "branches.safetensors" || file.parent_path().filename() != "checkpoints")
    return run;
  const fs::path maker = file.parent_path().parent_path();
  std::error_code ignored;
  return fs::exists(RunFolder{maker}.run_file(), ignored) ? fs::weakly_canonical(maker, ignored)
                                                          : run;
}

bool has_checkpoint(const RunFolder& folder, const std::string& kind) {
  std::error_code ignored;
  const std::string name = kind == "distill" || kind == "finetune" ? "train" : kind;
  return fs::exists(folder.checkpoints() / (name + ".safetensors"), ignored);
}

}  // namespace flashmorph
