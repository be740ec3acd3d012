// SPDX-License-Identifier: Apache-2.0
// Requests about jobs that are there: answered at once by the control thread.
#include <fmt/format.h>

#include "core/run/strict_json.h"
#include "core/serve/requests.h"

namespace flashmorph {

namespace {

using Json = nlohmann::json;
using Where = Dispatcher::Where;

JobId job_of(const Json& params) {
  const std::string text = params["job"];
  const auto id = JobId::parse(text);
  if (!id)
    throw Error("serve", ErrorCode::not_found, fmt::format("there is no job {}", quote(text)),
                "jobs are named as j12");
  return *id;
}

Json json_of(const JobStatus& status, const std::optional<JobProgressEvent>& progress) {
  const JobSpec& spec = status.spec;
  Json json{{"job", spec.id.to_string()}, {"kind", spec.kind},     {"run", spec.run},
            {"name", spec.name},          {"state", status.state}, {"reason", status.reason},
            {"command", spec.command}};
  if (!spec.slot.empty()) json["slot"] = spec.slot;
  if (!spec.set.empty()) json["set"] = spec.set;
  if (!spec.plan.empty()) json["plan"] = spec.plan;
  if (status.freed_bytes) json["freed_bytes"] = *status.freed_bytes;
  if (status.error)
    json["error"] = {{"code", status.error->code},
                     {"message", status.error->message},
                     {"data", {{"stage", status.error->stage}, {"hint", status.error->hint}}}};
  if (progress)
    json.update({{"done", progress->done}, {"total", progress->total}, {"what", progress->what}});
  return json;
}

}  // namespace

void add_job_methods(Dispatcher& dispatcher, Engine& engine) {
  dispatcher.add("job.list", Where::control, [&](const Json&, const Responder&) -> Reply {
    Json jobs = Json::array();
    for (const JobStatus& status : engine.queue.list())
      jobs.push_back(json_of(status, engine.progress.of(status.spec.id.to_string())));
    return {{{"jobs", jobs}}};
  });
  dispatcher.add("job.cancel", Where::control, [&](const Json& params, const Responder&) -> Reply {
    const std::string mode = params.value("mode", "now");
    if (mode != "now" && mode != "after_checkpoint")
      throw Error(
          "serve", ErrorCode::bad_request,
          fmt::format("job.cancel: mode: expected now or after_checkpoint, got {}", quote(mode)));
    return {{{"state", engine.queue.cancel(job_of(params), mode == "after_checkpoint")}}};
  });
  dispatcher.add("job.pause", Where::control, [&](const Json& params, const Responder&) -> Reply {
    std::string state;
    const bool pausing = engine.queue.pause(job_of(params), state);
    return {{{"state", state}, {"pausing", pausing}}};
  });
  dispatcher.add("job.resume", Where::control, [&](const Json& params, const Responder&) -> Reply {
    return {{{"state", engine.queue.resume(job_of(params))}}};
  });
}

}  // namespace flashmorph
