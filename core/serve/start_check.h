// SPDX-License-Identifier: Apache-2.0
// Preflight: what a start would meet, row by row, before anything heavy is done.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/export/export_job.h"
#include "core/jobs/preflight.h"
#include "core/serve/engine.h"
#include "core/serve/stages.h"

namespace flashmorph {

struct StartCheck {
  std::vector<ForecastRow> rows;
  std::optional<double> estimate_s;
  std::string estimate_from;  ///< measured, recorded, guessed; empty with no estimate
  std::string command;

  nlohmann::json to_json() const;
};

/// align, gates, select: model, device, branches, lengths, text, memory, disk, time. Throws for
/// options that no start would take.
StartCheck check_stage(Engine& engine, const Stage& stage, const nlohmann::json& options);
StartCheck check_eval(Engine& engine, const nlohmann::json& options);
/// distill, finetune: on the worker, some steps are measured.
StartCheck check_training(Engine& engine, const Stage& stage, const RunConfig& config);
/// One row per reader of the format.
StartCheck check_export(const ExportRequest& request);

/// As one line of the command line.
std::string export_command_line(const ExportRequest& request);

}  // namespace flashmorph
