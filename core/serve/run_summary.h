// SPDX-License-Identifier: Apache-2.0
// A run in a line: what run.list, run.create and run.open answer.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

#include "core/serve/engine.h"

namespace flashmorph {

/// Fields as in the table of methods; a run that cannot be read is {name, path, error}. details:
/// also config, provenance and eval_sets; then errors are thrown.
nlohmann::json run_summary(Engine& engine, const std::filesystem::path& run, bool details);

/// The plan a run chose (of its budget, or the one it trained), if any.
const SavedPlan* chosen_plan_of(const RunRecord& record);

}  // namespace flashmorph
