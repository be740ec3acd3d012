// SPDX-License-Identifier: Apache-2.0
#include "core/cli/hybrid_commands.h"

#include "core/cli/hybrid_plans.h"
#include "core/cli/hybrid_reports.h"
#include "core/cli/stage_run.h"
#include "core/run/error.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

void check_config(const RunConfig& config) {
  if (!config.plans.empty() && !config.plan.empty())
    throw Error(config.command, ErrorCode::bad_request, "plan and plans are both given",
                "use --plans for several, --plan for one");
  if (!config.plans.empty() && !config.init.empty())
    throw Error(config.command, ErrorCode::bad_request, "init belongs to one plan",
                "leave out --plans, or start from --aligned");
  if (config.resume && config.run.empty())
    throw Error(config.command, ErrorCode::bad_request, "--resume needs the name of the run",
                "add --run NAME");
}

// What cannot be started leaves no run behind.
void check_start(const Session& session, const RunConfig& config) {
  train_options_of(config, parse_train_stage(config.command));
  hybrid_start_of(config, session.teacher().layers());
}

}  // namespace

int hybrid_body(CommandContext& context, const RunConfig& config) {
  check_config(config);
  if (!config.plans.empty())
    return config.preflight ? preflight_plans(context, config) : train_plans(context, config);
  const auto session = open_session(context, config, false);
  if (config.preflight) {
    const TrainForecast forecast =
        forecast_training(*session, config, context.stop, listener_of(context.console));
    print_json(context, report_forecast(context.console, forecast));
    return forecast.starts() ? 0 : 1;
  }
  check_start(*session, config);
  nlohmann::json json;
  fs::path folder;
  train_hybrid(context, *session, config, json, folder,
               [&] { stopped(config, RunFolder{folder}, config.command); });
  print_json(context, json);
  return 0;
}

}  // namespace flashmorph
