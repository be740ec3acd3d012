// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/job.h"

#include <algorithm>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "core/run/error.h"
#include "flashmorph_version.h"
#include "kernels/cuda_library.h"

namespace flashmorph {

namespace fs = std::filesystem;

void Job::tell(Event event) const {
  listener.event(event);
  if (is_recorded(event)) recorder.append(std::move(event));
}

void tell_running(const Job& job, const std::string& kind) {
  JobStateEvent event;
  event.job = job.id;
  event.state = "running";
  event.kind = kind;
  event.run = job.recorder.folder().path.filename();
  job.tell(std::move(event));
}

fs::path runs_folder(const RunConfig& config) { return config.runs.empty() ? default_runs_folder() : fs::path(config.runs); }

fs::path find_run(const RunConfig& config, const std::string& name) {
  for (const fs::path& candidate : {fs::path(name), runs_folder(config) / name})
    if (!name.empty() && fs::exists(RunFolder{candidate}.run_file())) return candidate;
  throw Error("run", ErrorCode::not_found,
              fmt::format("there is no run {} here or in {}", name.substr(0, 200), runs_folder(config).string()),
              "give the folder of a run, or its name and --runs");
}

fs::path find_branches(const RunConfig& config, const std::string& aligned) {
  if (fs::is_regular_file(aligned)) return aligned;
  return find_run(config, aligned) / "checkpoints" / "branches.safetensors";
}

RunInHand open_job_run(const Session& session, const RunConfig& config, const std::string& kind, const std::string& command) {
  bool exists = true;
  fs::path path;
  try {
    path = find_run(config, config.run);
  } catch (const Error&) {
    exists = false;
  }
  if (config.resume && !exists)
    throw Error("run", ErrorCode::not_found, fmt::format("there is no run \"{}\" to resume", config.run),
                "name it with --run, and its folder with --runs");
  if (exists && (config.resume || kind == "eval")) {
    RunInHand run{RunFolder{path}, open_run(path).record, true};
    if (kind != "eval" && run.record.kind != kind)
      throw Error("run", ErrorCode::bad_request,
                  fmt::format("run {} is of kind {}, not {}", path.filename().string(), run.record.kind, kind));
    const auto& model = run.record.model;
    if (model.contains("weights_sha256") && model["weights_sha256"] != session.weights_sha256())
      throw Error("run", ErrorCode::bad_request,
                  fmt::format("run {} was made with another teacher ({})", path.filename().string(),
                              model.value("name", std::string("unknown"))),
                  "load the model the run was made with");
    return run;
  }
  if (exists)
    throw Error("run", ErrorCode::run_in_use, fmt::format("run {} exists already", path.string()),
                "add --resume to go on with it, or choose another name");
  RunRecord record = new_run_record(kind, session.teacher().layers());
  record.config = to_json(config);
  record.provenance = provenance_of(session, config, command);
  record.model = session.model_json();
  record.state = "running";
  const fs::path wanted(config.run.empty() ? kind : config.run);
  const bool is_path = wanted.has_parent_path();
  RunFolder folder = create_run(is_path ? wanted.parent_path() : runs_folder(config), wanted.filename().string(), record);
  return {std::move(folder), std::move(record), false};
}

nlohmann::json provenance_of(const Session& session, const RunConfig& config, const std::string& command) {
  std::string device = session.device().str();
  const kernels::CudaStatus* cuda = session.device().is_cuda() ? &kernels::load_cuda() : nullptr;
  if (cuda)
    for (const kernels::CudaDevice& one : cuda->devices)
      if (one.index == session.device().index()) device += " " + one.name;
  return {{"engine", FLASHMORPH_VERSION},
          {"commit", FLASHMORPH_COMMIT},
          {"torch", FLASHMORPH_TORCH_VERSION},
          {"device", device},
          {"dtype", dtype_name(session.teacher().dtype())},
          {"threads", at::get_num_threads()},
          {"seed", config.seed},
          {"text", fs::path(config.text).filename().string()},
          {"command", command}};
}

PasskeyOptions passkey_options_of(const Session& session, const RunConfig& config, const JobListener& listener) {
  PasskeyOptions options;
  const int64_t longest = session.teacher().config().max_position;
  options.max_length = config.length_max;
  options.min_length = std::min(config.length_min, config.length_max);
  if (longest > 0 && options.max_length > longest) {
    options.max_length = longest;
    options.min_length = std::min(options.min_length, longest / 4);
    listener.note(fmt::format("samples are cut to {} tokens, the longest this model was made for", longest));
  }
  options.length_count = static_cast<int>(config.length_count);
  options.passkeys = static_cast<int>(config.passkeys);
  options.passkey_words = static_cast<int>(config.passkey_words);
  options.position = config.position;
  return options;
}

int budget_of(const RunConfig& config, int layers) {
  return config.budget > 0 ? static_cast<int>(config.budget) : budget_of_ratio(layers, 3);
}

std::vector<Lock> locks_of(const RunConfig& config, int layers) {
  std::vector<Lock> locks(static_cast<size_t>(layers), Lock::free);
  for (const auto& [list, lock] : {std::pair{&config.lock_full, Lock::full}, std::pair{&config.lock_linear, Lock::linear}})
    for (const int64_t layer : *list) {
      if (layer < 0 || layer >= layers)
        throw Error("run", ErrorCode::bad_request, fmt::format("locked layer {} is outside 0..{}", layer, layers - 1));
      if (locks[static_cast<size_t>(layer)] != Lock::free)
        throw Error("run", ErrorCode::bad_request, fmt::format("layer {} is locked both full and linear", layer));
      locks[static_cast<size_t>(layer)] = lock;
    }
  return locks;
}

void use_threads(const RunConfig& config) {
  if (config.threads > 0) at::set_num_threads(static_cast<int>(config.threads));
}

}  // namespace flashmorph
