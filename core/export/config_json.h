// SPDX-License-Identifier: Apache-2.0
// The part of config.json that all targets share, and the way back.
#pragma once

#include <nlohmann/json.hpp>

#include "core/export/export_target.h"
#include "core/load/model_config.h"
#include "core/run/layer_plan.h"

namespace flashmorph {

/// Sizes, norm, ids, dtype, and the rope in every spelling: rope_parameters in full, rope_theta at
/// the top, rope_scaling only for a scaled rope (formats 1.2).
nlohmann::json common_config(const ModelConfig& config, ExportDtype dtype);
/// {"rope_type": ..., "rope_theta": ..., ...}: the fields its type uses.
nlohmann::json rope_json(const RopeConfig& rope);
/// "full_attention" or "linear_attention", one word a layer.
std::vector<std::string> layer_types(const LayerPlan& plan);

/// The teacher's configuration and the plan back from a written config.json. family: qwen3, qwen2
/// or llama, whose rules hold for the fields; layer kinds come from `layer_types`. Throws
/// Error(bad_file).
ModelConfig config_from_json(nlohmann::json json, const std::string& family,
                             const std::string& where);
LayerPlan plan_from_json(const nlohmann::json& json, const std::string& where);

}  // namespace flashmorph
