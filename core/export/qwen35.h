// SPDX-License-Identifier: Apache-2.0
// Target transformers: stock class Qwen3_5ForCausalLM (model_type qwen3_5_text) for Qwen3 teachers
// with gdn branches (formats 3).
#pragma once

#include <map>
#include <string>

#include "core/export/export_target.h"
#include "core/export/hybrid_weights.h"

namespace flashmorph {

/// config.json and tensors. Full layers equal the teacher's exactly: zero gate rows, o_proj times
/// 2, norms w - 1. Norms followed by matrices are rescaled by signed powers of two, so that w - 1
/// is exact in bfloat16 too (formats 3.2):
///   p = +-2^n with w p in [1, 2), stored w p - 1, matching columns of the next matrices divided by
///   p.
/// q/k norms and the final norm of a tied model stay float32, as A_log and dt_bias do; their errors
/// after a cast to bfloat16 are reported. Throws Error(export_refused) for what the class cannot
/// express (the linter says it first, with the cure). rescale: whether norms are; without it they
/// are w - 1 as they stand.
TargetModel qwen35_model(const HybridWeights& weights, ExportDtype dtype, bool rescale = true);

/// The way back, from the files alone; norms keep their powers of two. Throws Error(bad_file).
HybridWeights qwen35_weights(const nlohmann::json& config, const LazyTensors& tensors,
                             const std::string& where);

/// n if layer i is full exactly when (i + 1) mod n == 0, else 0: plans that class families with an
/// interval can read.
int full_interval(const LayerPlan& plan);

}  // namespace flashmorph
