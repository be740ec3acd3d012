// SPDX-License-Identifier: Apache-2.0
// The rope keys of config.json in all their spellings.
#pragma once

#include <nlohmann/json.hpp>

#include "core/load/model_config.h"

namespace flashmorph {

/// Joins top-level rope_theta, rope_scaling (type key rope_type or type) and rope_parameters.
/// Throws Error("load", ...) when two spellings disagree, a number is unusable or the scaling is
/// unknown.
RopeConfig parse_rope(const nlohmann::json& config, int64_t max_position, const std::string& where);

/// Throws when the numbers of a rope make no usable frequencies. field: named in the sentence.
void check_rope(const RopeConfig& rope, const std::string& where, const std::string& field);

}  // namespace flashmorph
