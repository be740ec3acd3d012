// SPDX-License-Identifier: Apache-2.0
// What every stage command does around its job: a loaded session, an opened run, the right end
// whatever happens.
#pragma once

#include <memory>
#include <string>

#include "core/cli/program.h"
#include "core/jobs/job.h"
#include "core/run/error.h"

namespace flashmorph {

JobListener listener_of(Console& console);
/// Model and, where a command needs them, branches; says what was loaded.
std::unique_ptr<Session> open_session(CommandContext& context, const RunConfig& config,
                                      bool branches);
/// Throws Error(stopped) with the command line that goes on.
[[noreturn]] void stopped(const RunConfig& config, const RunFolder& folder,
                          const std::string& command);
/// Closes the run as finished, writes its tables, says where it lies.
void finish(CommandContext& context, Recorder& recorder, nlohmann::json& json);
void print_json(CommandContext& context, const nlohmann::json& json);

/// One job in one run: opened, run, closed with the right state whatever happens.
class OpenRun {
 public:
  OpenRun(Session& session, const RunConfig& config, const std::string& kind,
          CommandContext& context)
      : run_(open_job_run(session, config, kind, context.command_line())),
        recorder_(run_.folder, std::move(run_.record)),
        job_{session,
             config,
             recorder_,
             context.stop,
             listener_of(context.console),
             "j1",
             context.command_line()} {}

  /// body(job, resumed) -> whether it was stopped. An exception closes the run as failed and goes
  /// on.
  template <typename Body>
  bool run(Body&& body) {
    try {
      const bool halted = body(job_, run_.resumed);
      if (halted) recorder_.close("cancelled");
      return halted;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::stopped) {
        recorder_.close("cancelled");
        throw;
      }
      close_failed(error.code(), error.stage(), error.message(), error.hint());
      throw;
    } catch (const std::exception& failure) {
      close_failed(ErrorCode::internal, "run", failure.what(), "");
      throw;
    }
  }
  Recorder& recorder() { return recorder_; }

 private:
  void close_failed(ErrorCode code, const std::string& stage, const std::string& message,
                    const std::string& hint);

  RunInHand run_;
  Recorder recorder_;
  Job job_;
};

}  // namespace flashmorph
