// SPDX-License-Identifier: Apache-2.0
// hello, shutdown, engine.status and the requests about the model.
#include <fmt/format.h>
#include <unistd.h>

#include "core/export/export_target.h"
#include "core/jobs/model_summary.h"
#include "core/load/checkpoint.h"
#include "core/serve/failure.h"
#include "core/serve/memory_use.h"
#include "core/serve/requests.h"
#include "core/serve/stages.h"
#include "flashmorph_version.h"
#include "kernels/cuda_library.h"

namespace flashmorph {

namespace {

using Json = nlohmann::json;
using Where = Dispatcher::Where;

Json hello_result(const Engine& engine) {
  const kernels::CudaStatus& cuda = kernels::load_cuda();
  Json features = {"pause", "slots", "preflight"}, devices = Json::array(), names = Json::array();
  if (cuda.available) features.push_back("cuda");
  for (const kernels::CudaDevice& device : cuda.devices)
    devices.push_back({{"id", fmt::format("cuda:{}", device.index)},
                       {"name", device.name},
                       {"total_bytes", device.memory_bytes}});
  devices.push_back({{"id", "cpu"}, {"name", "CPU"}, {"total_bytes", machine_bytes()}});
  for (const Stage& stage : stages()) names.push_back(stage.name);
  for (const char* name : {"eval", "export"}) names.push_back(name);
  return {{"protocol", {kProtocolMajor, kProtocolMinor}},
          {"engine", FLASHMORPH_VERSION},
          {"commit", FLASHMORPH_COMMIT},
          {"features", features},
          {"stages", names},
          {"devices", devices},
          {"no_cuda", cuda.reason},
          {"max_line_bytes", kMaxLineBytes},
          {"runs", engine.shelf.folder().string()},
          {"pid", getpid()}};
}

Json inspect(const std::string& model) {
  ModelConfig c;
  try {
    c = inspect_checkpoint(model);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::unsupported_model) throw;
    return {{"model", model}, {"unsupported", {error.message()}}, {"hint", error.hint()}};
  }
  Json json = model_summary(model, c);
  Json targets = Json::array();
  for (const ExportTarget target : export_targets())
    targets.push_back(
        {{"name", to_string(target)},
         {"state", target == ExportTarget::plan ? "ok" : "warning"},
         {"reason", target == ExportTarget::plan
                        ? ""
                        : "depends on plan and branches: preflight of export tells"}});
  json["unsupported"] = Json::array();
  json["targets"] = std::move(targets);
  return json;
}

void load_model(Engine& engine, const Json& params, const Responder& later) {
  try {
    RunConfig config;
    config.threads = params.value("threads", int64_t{0});
    use_threads(config);
    engine.model.load(params["model"], params.value("device", "auto"),
                      params.value("dtype", "auto"));
    if (const std::string aligned = params.value("aligned", ""); !aligned.empty()) {
      config.runs = engine.shelf.folder().string();
      engine.model.use_branches(find_branches(config, engine.shelf.path_or_word(aligned)));
    }
    later.ok(engine.model.info().to_json());
  } catch (...) {
    later.fail(error_of(std::current_exception(), "load"));
  }
}

}  // namespace

void add_engine_methods(Dispatcher& dispatcher, Engine& engine, std::function<void(int)> leave) {
  dispatcher.add(
      "hello", Where::control, [&, leave](const Json& params, const Responder& later) -> Reply {
        const Json& asked = params["protocol"];
        if (asked.size() != 2 || !asked[0].is_number_integer() || !asked[1].is_number_integer())
          throw Error("protocol", ErrorCode::bad_request,
                      "hello: protocol: expected [major, minor]");
        if (asked[0] != kProtocolMajor) {
          later.fail(
              Error("protocol", ErrorCode::protocol,
                    fmt::format("the client speaks protocol {}.{}, this engine {}.{}",
                                asked[0].dump(), asked[1].dump(), kProtocolMajor, kProtocolMinor),
                    "use a workbench and an engine of the same release"));
          return {{}, [leave] { leave(2); }, true};
        }
        if (dispatcher.greeted())
          throw Error("protocol", ErrorCode::invalid_request, "hello was said before");
        dispatcher.greet();
        return {hello_result(engine)};
      });
  dispatcher.add("shutdown", Where::control, [leave](const Json&, const Responder&) -> Reply {
    return {Json::object(), [leave] { leave(0); }};
  });
  dispatcher.add("engine.status", Where::control, [&](const Json&, const Responder&) -> Reply {
    const WorkerPulse::Reading pulse = engine.pulse.read();
    Json result{{"t_s", engine.seconds()},
                {"worker", pulse.job.empty() ? "idle" : "busy"},
                {"job", pulse.job},
                {"step", pulse.step},
                {"worker_age_s", pulse.age_s},
                {"rss_bytes", resident_bytes_now()},
                {"outbox_bytes", engine.outbox.bytes()},
                {"model", engine.model.info().to_json()},
                {"queued", engine.queue.waiting()}};
    if (const int64_t used = engine.gpu_used_bytes; used >= 0) result["gpu_used_bytes"] = used;
    return {result};
  });
}

void add_model_methods(Dispatcher& dispatcher, Engine& engine) {
  dispatcher.add("model.inspect", Where::clerk, [](const Json& params, const Responder&) -> Reply {
    return {inspect(params["model"])};
  });
  dispatcher.add(
      "model.load", Where::clerk, [&](const Json& params, const Responder& later) -> Reply {
        engine.queue.add_chore("loading a model",
                               [&engine, params, later] { load_model(engine, params, later); });
        return {{}, {}, true};
      });
  dispatcher.add("model.unload", Where::clerk, [&](const Json&, const Responder& later) -> Reply {
    engine.queue.add_chore("unloading the model", [&engine, later] {
      later.ok({{"freed_bytes", engine.model.unload()}});
    });
    return {{}, {}, true};
  });
}

}  // namespace flashmorph
