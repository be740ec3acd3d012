// SPDX-License-Identifier: Apache-2.0
#include "core/serve/job_run.h"

#include <variant>

#include <fmt/format.h>

#include "core/run/error.h"
#include "core/serve/failure.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

// A run made by run.create, filled by its first job.
RunInHand fill_created_run(const Session& session, const StagePlan& plan) {
  RunInHand run{RunFolder{plan.run}, open_run(plan.run).record, false};
  run.record.config = to_json(plan.config);
  run.record.provenance = provenance_of(session, plan.config, plan.command);
  run.record.model = session.model_json();
  run.record.layers = session.teacher().layers();
  run.record.state = "running";
  return run;
}

RunInHand open_run_of(const Session& session, const StagePlan& plan, bool again) {
  const bool there = fs::exists(RunFolder{plan.run}.run_file());
  if (plan.fresh && there && !again) return fill_created_run(session, plan);
  RunConfig config = plan.config;
  config.run = plan.run.string();
  config.resume = there;
  return open_job_run(session, config, plan.stage->name, plan.command);
}

// The state event is recorded in the journal, too, so that a crash does not hide the failure.
void close_failed(Engine& engine, const Job& job, const Error& error) {
  try {
    JobStateEvent event;
    event.job = job.id;
    event.state = "failed";
    event.error =
        JobError{static_cast<int>(error.code()), error.stage(), error.message(), error.hint()};
    job.recorder.append(event);
    engine.shelf.close_recorder(job.recorder.folder().path, "failed");
  } catch (const std::exception&) {
    // The disk may be why the job failed; the first error is the one to tell.
  }
}

}  // namespace

std::string state_when_stopped(StopCause cause, bool resumable) {
  if (cause == StopCause::cancelled || cause == StopCause::superseded || !resumable)
    return "cancelled";
  return "paused";
}

JobListener listener_for(Engine& engine, const JobTurn& turn, ProgressMeter& meter,
                         std::function<std::optional<int64_t>()> work_left) {
  JobListener listener;
  listener.event = [&engine, stop = turn.stop](const Event& event) {
    if (std::holds_alternative<JobStateEvent>(event)) return;
    engine.outbox.tell(event);
    engine.outbox.wait_for_room([&] { return stop.is_set(); });
  };
  listener.progress = [&engine, &meter, work_left](const std::string&, const Progress& progress,
                                                   const std::string&) {
    engine.pulse.beat(progress.done);
    const auto event = meter.update(progress, work_left ? work_left() : std::nullopt);
    engine.progress.note(meter.last());
    if (event) engine.outbox.tell(*event);
  };
  listener.note = [&engine, id = turn.id.to_string()](const std::string& text) {
    engine.outbox.tell(LogEvent{"info", text, id});
  };
  return listener;
}

WorkEnd run_stage(Engine& engine, const StagePlan& plan, const JobTurn& turn) {
  const Stage& stage = *plan.stage;
  const RunConfig& config = plan.config;
  use_threads(config);
  Session& session = engine.model.load(config.model, config.device, config.dtype);
  if (turn.stop.is_set()) return WorkEnd::stopped;
  if (stage.makes_branches) engine.model.forget_branches();
  if (stage.needs_branches) engine.model.use_branches(plan.branches);
  RunInHand run = open_run_of(session, plan, turn.again);
  const fs::path folder = run.folder.path;
  const std::shared_ptr<Recorder> recorder =
      engine.shelf.open_recorder(run.folder, std::move(run.record));
  ProgressMeter meter(turn.id.to_string());
  const Job job{session,
                config,
                *recorder,
                turn.stop,
                listener_for(engine, turn, meter),
                turn.id.to_string(),
                plan.command,
                [&turn] {
                  // "Now" leaves within 2 s and loses the steps since the last checkpoint.
                  if (turn.cause() != StopCause::cancelled) return StopWish::save;
                  return turn.after_checkpoint() ? StopWish::after_checkpoint : StopWish::discard;
                }};
  try {
    const WorkEnd end = stage.run(job, run.resumed || turn.again);
    engine.rates.note(config.model, stage.name, meter.tokens_per_s());
    const bool finished = end == WorkEnd::finished;
    engine.shelf.close_recorder(
        folder,
        finished ? "finished" : state_when_stopped(turn.cause(), stage.why_not_pausable.empty()));
    if (finished && stage.makes_branches)
      engine.model.branches_are(RunFolder{folder}.checkpoints() / "branches.safetensors");
    return end;
  } catch (...) {
    const Error error = error_of(std::current_exception(), stage.name);
    if (error.code() == ErrorCode::stopped)
      engine.shelf.close_recorder(folder,
                                  state_when_stopped(turn.cause(), stage.why_not_pausable.empty()));
    else
      close_failed(engine, job, error);
    throw;
  }
}

}  // namespace flashmorph
