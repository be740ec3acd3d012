// SPDX-License-Identifier: Apache-2.0
#include "core/cli/stage_run.h"

#include <chrono>

#include <fmt/format.h>

#include "core/cli/reports.h"

namespace flashmorph {

JobListener listener_of(Console& console) {
  JobListener listener;
  listener.progress = [&console](const std::string& stage, const Progress& progress,
                                 const std::string& extra) {
    console.progress(stage, progress, extra);
  };
  listener.note = [&console](const std::string& text) { console.note(text); };
  return listener;
}

std::unique_ptr<Session> open_session(CommandContext& context, const RunConfig& config,
                                      bool branches) {
  const auto start = std::chrono::steady_clock::now();
  use_threads(config);
  const at::Device device = parse_device(config.device);
  if (config.model.empty())
    throw Error("load", ErrorCode::bad_request, "no model given",
                "name a model directory or .gguf file with --model");
  auto session = std::make_unique<Session>(config.model, device, parse_dtype(config.dtype, device));
  const ModelConfig& model = session->teacher().config();
  context.console.note(fmt::format(
      "loaded {} ({}, {} layers, {}, {}) in {}", model.name, model.family, model.layers,
      dtype_name(session->teacher().dtype()), device.str(),
      human_seconds(
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count())));
  if (!session->quantization().empty())
    context.console.note(fmt::format("the teacher is degraded: its weights were stored as {}",
                                     session->quantization()));
  if (branches && !config.aligned.empty())
    session->load_branches(find_branches(config, config.aligned));
  return session;
}

void stopped(const RunConfig& config, const RunFolder& folder, const std::string& command) {
  RunConfig again = config;
  again.command = command;
  again.run = folder.path.string();
  again.resume = true;
  throw Error(command, ErrorCode::stopped,
              fmt::format("everything so far is kept in {}", folder.path.string()),
              "go on with: " + command_line(again));
}

void finish(CommandContext& context, Recorder& recorder, nlohmann::json& json) {
  recorder.close("finished");
  write_tables(recorder.folder(), recorder.record());
  json["run"] = recorder.folder().path.string();
  context.console.line(fmt::format("run      {}", recorder.folder().path.string()));
}

void print_json(CommandContext& context, const nlohmann::json& json) {
  if (context.console.json())
    fmt::print("{}\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

void OpenRun::close_failed(ErrorCode code, const std::string& stage, const std::string& message,
                           const std::string& hint) {
  try {
    JobStateEvent event;
    event.job = job_.id;
    event.state = "failed";
    event.error = JobError{static_cast<int>(code), stage, message, hint};
    job_.tell(std::move(event));
    recorder_.close("failed");
  } catch (const Error&) {
    // The disk may be why the job failed; the first error is the one to show.
  }
}

}  // namespace flashmorph
