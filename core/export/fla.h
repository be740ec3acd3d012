// SPDX-License-Identifier: Apache-2.0
// Target fla: model_type gated_deltanet with a list of softmax layers, for Llama kinds with gdn
// branches (formats 4).
#pragma once

#include <map>
#include <string>

#include "core/export/export_target.h"
#include "core/export/hybrid_weights.h"

namespace flashmorph {

/// config.json and tensors under fla's names. Throws Error(export_refused) for what the class
/// cannot express (the linter says it first, with the cure).
TargetModel fla_model(const HybridWeights& weights, ExportDtype dtype);

/// The way back, from the files alone. Throws Error(bad_file).
HybridWeights fla_weights(const nlohmann::json& config, const LazyTensors& tensors,
                          const std::string& where);

}  // namespace flashmorph
