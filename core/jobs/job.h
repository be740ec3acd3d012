// SPDX-License-Identifier: Apache-2.0
// What every job has: the loaded model, its choices, the recorder of its run, a stop flag, and those who listen.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/jobs/session.h"
#include "core/load/corpus.h"
#include "core/load/passkey_data.h"
#include "core/run/event.h"
#include "core/run/progress.h"
#include "core/run/recorder.h"
#include "core/run/run_config.h"

namespace flashmorph {

/// Those who listen to a job: the command line prints, the server sends notifications.
struct JobListener {
  std::function<void(const Event&)> event = [](const Event&) {};
  std::function<void(const std::string& stage, const Progress&, const std::string& extra)> progress =
      [](const std::string&, const Progress&, const std::string&) {};
  std::function<void(const std::string&)> note = [](const std::string&) {};
};

/// What a job does once its stop flag is set: leave the step and save what is whole; finish the step and save; leave at once
/// (steps since the last checkpoint are lost).
enum class StopWish { save, after_checkpoint, discard };

struct Job {
  Session& session;
  const RunConfig& config;
  Recorder& recorder;
  StopFlag stop;
  JobListener listener;
  std::string id = "j1";
  std::string command;  ///< the line that started it
  std::function<StopWish()> stop_wish = [] { return StopWish::save; };  ///< read by distill and finetune

  /// Recorded and told.
  void tell(Event event) const;
};

/// job.state running, with kind and run.
void tell_running(const Job& job, const std::string& kind);

/// The run a job writes: a new folder named config.run (or after `kind`), or, with resume or an existing run, that one.
struct RunInHand {
  RunFolder folder;
  RunRecord record;
  bool resumed = false;
};
/// kind: align, gates, select, eval, distill, finetune. Fills config, provenance and model of a new record. Throws Error(bad_request) when resume names
/// no run, or a run of another kind or teacher.
RunInHand open_job_run(const Session& session, const RunConfig& config, const std::string& kind, const std::string& command);
/// Where runs lie: config.runs, else the default.
std::filesystem::path runs_folder(const RunConfig& config);
/// The folder of an existing run: a path, or a name in the folder of runs. Throws Error(not_found).
std::filesystem::path find_run(const RunConfig& config, const std::string& name);
/// A branches.safetensors from what --aligned says: a file, a run folder, the name of a run.
std::filesystem::path find_branches(const RunConfig& config, const std::string& aligned);

/// Versions, device, dtype, seed, hashes and command, for /config/provenance.
nlohmann::json provenance_of(const Session& session, const RunConfig& config, const std::string& command);

/// Passkeys as gates and selectors see them: config's sizes; lengths the model was not made for are cut, and that is said.
PasskeyOptions passkey_options_of(const Session& session, const RunConfig& config, const JobListener& listener);
/// K of the config, or a quarter of the layers rounded half up.
int budget_of(const RunConfig& config, int layers);
std::vector<Lock> locks_of(const RunConfig& config, int layers);

/// Sets the threads of LibTorch as the config says.
void use_threads(const RunConfig& config);

}  // namespace flashmorph
