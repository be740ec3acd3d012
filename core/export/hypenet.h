// SPDX-License-Identifier: Apache-2.0
// Target hypenet: our own class flashmorph_hybrid, field and tensor names of HypeNet, for lightning
// branches on any teacher (formats 5).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/export/export_target.h"
#include "core/export/hybrid_weights.h"

namespace flashmorph {

/// config.json and tensors. Throws Error(export_refused) for branches that are not lightning, or
/// differ between layers.
TargetModel hypenet_model(const HybridWeights& weights, ExportDtype dtype);

/// The way back, from the files alone. Throws Error(bad_file).
HybridWeights hypenet_weights(const nlohmann::json& config, const LazyTensors& tensors,
                              const std::string& where);

/// The code that travels with the weights: file name and text.
const std::vector<std::pair<std::string, std::string>>& modeling_files();

}  // namespace flashmorph
