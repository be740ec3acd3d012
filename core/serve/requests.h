// SPDX-License-Identifier: Apache-2.0
// What the methods do, by group; each adds its methods to the dispatcher.
#pragma once

#include <functional>

#include "core/serve/dispatcher.h"
#include "core/serve/engine.h"

namespace flashmorph {

/// hello, shutdown, engine.status. leave: asks the server to stop; the code is the program's.
void add_engine_methods(Dispatcher& dispatcher, Engine& engine,
                        std::function<void(int code)> leave);
/// model.inspect, model.load, model.unload.
void add_model_methods(Dispatcher& dispatcher, Engine& engine);
/// run.*, plan.*, eval_set.*.
void add_run_methods(Dispatcher& dispatcher, Engine& engine);
/// file.list, file.read.
void add_file_methods(Dispatcher& dispatcher, Engine& engine);
/// x.start, preflight.
void add_start_methods(Dispatcher& dispatcher, Engine& engine);
/// job.*.
void add_job_methods(Dispatcher& dispatcher, Engine& engine);

}  // namespace flashmorph
