// SPDX-License-Identifier: Apache-2.0
// What can be said of a model without reading its weights: for `flashmorph inspect` and model.inspect.
#pragma once

#include <filesystem>

#include <nlohmann/json.hpp>

#include "core/load/model_config.h"

namespace flashmorph {

/// name, family, layers, hidden, ffn, heads, kv_heads, head_dim, vocab, tied, qk_norm, qkv_bias,
/// max_position (tokens), rope, rms_norm_eps, dtype, weights, weights_bytes by dtype, kv_bytes_per_token
/// (bfloat16, all layers full), tokens (of the tokenizer), budgets by ratio.
/// config: inspect_checkpoint(model), which has checked name, shape and dtype of every tensor.
/// Throws what the tokenizer's loader does.
nlohmann::json model_summary(const std::filesystem::path& model, const ModelConfig& config);

}  // namespace flashmorph
