// SPDX-License-Identifier: Apache-2.0
// flashmorph export --plan-only: hybrid_config.json of a plan of a run.
#include <memory>

#include <fmt/format.h>

#include "core/cli/program.h"
#include "core/jobs/eval_job.h"
#include "core/jobs/plan_export.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {
struct Flags {
  std::string run, runs, plan, out;
  bool plan_only = false;
};
}  // namespace

CommandBody add_export_command(CLI::App& app) {
  auto flags = std::make_shared<Flags>();
  app.add_option("--run", flags->run, "Run whose plan is written")->required();
  app.add_option("--runs", flags->runs, "Folder of runs");
  app.add_option("--plan", flags->plan, "Name or id of a saved plan, or a plan text; default: the run's own");
  app.add_option("-o,--out", flags->out, "File to write; default exports/hybrid_config.json of the run");
  app.add_flag("--plan-only", flags->plan_only, "Write the plan and where it comes from, no weights")->required();
  app.footer("Example: flashmorph export --plan-only --run my-gates -o hybrid_config.json");
  return [flags](CommandContext& context) {
    RunConfig config = default_config();
    config.runs = flags->runs;
    const RunFolder folder{find_run(config, flags->run)};
    const RunRecord record = open_run(folder.path).record;
    const std::filesystem::path source = folder.exports() / "hybrid_config.json";
    if (!std::filesystem::exists(source))
      throw Error("export", ErrorCode::not_found, fmt::format("run {} has made no plan yet", folder.path.filename().string()),
                  "finish its gates or select job first");
    HybridConfig hybrid = load_hybrid_config(source);
    if (!flags->plan.empty()) {
      const NamedPlan plan = plans_of({flags->plan}, run_config_of(record.config, "run file"), record, record.layers).front();
      if (plan.plan != hybrid.plan) hybrid.locks.clear();
      hybrid.plan = plan.plan;
    }
    hybrid.selection.run_revision = record.revision;
    hybrid.made_with.command = context.command_line();
    hybrid.made_with.utc = utc_now();
    const std::filesystem::path target = flags->out.empty() ? source : std::filesystem::path(flags->out);
    save_hybrid_config(target, hybrid);
    if (context.console.json())
      fmt::print("{}\n", nlohmann::json{{"file", target.string()}, {"plan", hybrid.plan.to_string()}}.dump());
    else
      fmt::print("{}  {}\n", target.string(), hybrid.plan.to_string());
    return 0;
  };
}

}  // namespace flashmorph
