// SPDX-License-Identifier: Apache-2.0
// x.start and preflight.
#include <fmt/format.h>

#include "core/export/export_job.h"
#include "core/run/strict_json.h"
#include "core/serve/eval_start.h"
#include "core/serve/failure.h"
#include "core/serve/requests.h"
#include "core/serve/stage_start.h"
#include "core/serve/start_check.h"

namespace flashmorph {

namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Where = Dispatcher::Where;

Reply queue(Engine& engine, JobSpec spec, Json result) {
  spec.id = engine.queue.next_id();
  result["job"] = spec.id.to_string();
  result["run"] = spec.run;
  result["name"] = spec.name;
  result["command"] = spec.command;
  return {std::move(result),
          [&engine, spec = std::move(spec)]() mutable { engine.queue.add(std::move(spec)); }};
}

Reply start_stage(Engine& engine, const Stage& stage, const Json& params) {
  engine.queue.check_room();
  StagePlan plan = plan_stage(engine, stage, params);
  JobSpec spec;
  spec.kind = stage.name;
  spec.run = plan.handle;
  spec.name = plan.run.filename().string();
  spec.command = plan.command;
  spec.plan = stage.trains_hybrid ? plan.config.plan : std::string();
  spec.pausable = stage.why_not_pausable.empty();
  spec.why_not_pausable = stage.why_not_pausable;
  Json result{{"path", plan.run.string()}, {"estimate_s", Json()}};
  const auto rate = engine.rates.tokens_per_s(plan.config.model, stage.name);
  if (rate) result["estimate_s"] = stage.tokens(plan.config, engine.model.info().layers) / *rate;
  spec.work = [&engine, plan = std::move(plan)](const JobTurn& turn) {
    return run_stage(engine, plan, turn);
  };
  return queue(engine, std::move(spec), std::move(result));
}

Reply start_eval(Engine& engine, const Json& params) {
  engine.queue.check_room();
  EvalPlan plan = plan_evaluation(engine, params);
  Json plans = Json::array();
  for (const NamedPlan& one : plan.plans) plans.push_back(one.plan.to_string());
  Json result{{"path", plan.home.string()},
              {"set", plan.set.name},
              {"plans", plans},
              {"cells", plan.cells},
              {"cached", plan.cached},
              {"trials", plan.trials},
              {"trials_cached", plan.trials_cached},
              {"estimate_s", plan.estimate_s ? Json(*plan.estimate_s) : Json()},
              {"estimate_from", plan.estimate_from}};
  JobSpec spec;
  spec.kind = "eval";
  spec.run = plan.home_handle;
  spec.name = plan.home.filename().string();
  spec.slot = plan.slot;
  spec.set = plan.set.name;
  spec.plan = plan.plans.back().plan.to_string();
  spec.command = plan.command;
  spec.evaluation = true;
  spec.work = [&engine, plan = std::move(plan)](const JobTurn& turn) {
    return run_evaluation(engine, plan, turn);
  };
  return queue(engine, std::move(spec), std::move(result));
}

ExportRequest export_request_of(Engine& engine, const Json& params) {
  Json options = params;
  options["run"] = engine.shelf.find(params["run"]).string();
  options["runs"] = engine.shelf.folder().string();
  for (const char* key : {"aligned", "hybrid"})
    if (options.contains(key)) options[key] = engine.shelf.path_or_word(options[key]);
  if (options.contains("out")) {
    // What a window asks for stays inside the run; the command line may write anywhere.
    const fs::path out(options["out"].get<std::string>());
    const fs::path normal = out.lexically_normal();
    if (out.empty() || out.is_absolute() || normal.begin() == normal.end() ||
        *normal.begin() == "..")
      throw Error("export", ErrorCode::bad_request,
                  fmt::format("export.start: out: {} is not inside the run", quote(out.string())),
                  "give a path relative to the run folder");
    options["out"] = (fs::path(options["run"].get<std::string>()) / normal).string();
  }
  return export_request(options, "export");
}

Reply start_export(Engine& engine, const Json& params) {
  engine.queue.check_room();
  ExportRequest request = export_request_of(engine, params);
  const ExportSubject subject = export_subject(request);
  std::vector<LintRow> rows = lint_subject(
      subject, request.dtype.empty() ? ExportDtype::bf16 : parse_export_dtype(request.dtype));
  const ExportTarget target = target_of(request, rows);
  require_exportable(rows, target);
  if (request.out.empty()) {
    const std::string gguf = "hybrid." + to_string(dtype_of(request, target)) + ".gguf";
    request.out = (subject.run_folder / "exports" /
                   (target == ExportTarget::plan   ? "hybrid_config.json"
                    : target == ExportTarget::gguf ? gguf
                                                   : to_string(target)))
                      .string();
  }
  JobSpec spec;
  spec.kind = "export";
  spec.run = engine.shelf.handle_of(subject.run_folder);
  spec.name = subject.run_folder.filename().string();
  spec.plan = subject.plan.to_string();
  spec.pausable = false;
  spec.why_not_pausable = "an export is written whole or not at all: cancel it and start it again";
  spec.command = export_command_line(request);
  Json result{{"path", subject.run_folder.string()},
              {"target", to_string(target)},
              {"out", request.out},
              {"estimate_s", Json()}};
  spec.work = [&engine, request, subject, command = spec.command](const JobTurn& turn) {
    ProgressMeter meter(turn.id.to_string());
    const ExportOutcome outcome =
        run_export(request, subject, command, turn.stop, [&](const Progress& progress) {
          engine.pulse.beat(progress.done);
          const auto event = meter.update(progress);
          engine.progress.note(meter.last());
          if (event) engine.outbox.tell(*event);
        });
    engine.outbox.tell(LogEvent{"info",
                                fmt::format("exported to {}: logits differ by {:.3g} at most",
                                            outcome.path.string(), outcome.max_abs),
                                turn.id.to_string()});
    return WorkEnd::finished;
  };
  return queue(engine, std::move(spec), std::move(result));
}

Reply preflight(Engine& engine, const Json& params, const Responder& later) {
  const std::string name = params["stage"];
  Json options = params;
  options.erase("stage");
  if (name == "eval") return {check_eval(engine, options).to_json()};
  if (name == "export") {
    if (!options.contains("run"))
      throw Error("export", ErrorCode::bad_request, "preflight: run: it is missing");
    return {check_export(export_request_of(engine, options)).to_json()};
  }
  const Stage* stage = find_stage(name);
  if (!stage)
    throw Error("protocol", ErrorCode::bad_request,
                fmt::format("preflight: stage: there is no stage {}", quote(name)));
  options.erase("run");
  options.erase("resume");
  if (!stage->trains_hybrid) return {check_stage(engine, *stage, options).to_json()};
  // Some steps are measured, on the worker.
  const RunConfig config = settle_config(engine, *stage, options);
  engine.queue.add_chore("measuring a preflight", [&engine, stage, config, options, later] {
    try {
      later.ok(check_training(engine, *stage, config).to_json());
    } catch (...) {
      later.fail(error_of(std::current_exception(), stage->name));
    }
  });
  return {{}, {}, true};
}

}  // namespace

void add_start_methods(Dispatcher& dispatcher, Engine& engine) {
  for (const Stage& stage : stages())
    dispatcher.add(stage.name + ".start", Where::clerk, [&](const Json& params, const Responder&) {
      return start_stage(engine, stage, params);
    });
  dispatcher.add("eval.start", Where::clerk,
                 [&](const Json& params, const Responder&) { return start_eval(engine, params); });
  dispatcher.add("export.start", Where::clerk, [&](const Json& params, const Responder&) {
    return start_export(engine, params);
  });
  dispatcher.add("preflight", Where::clerk, [&](const Json& params, const Responder& later) {
    return preflight(engine, params, later);
  });
}

}  // namespace flashmorph
