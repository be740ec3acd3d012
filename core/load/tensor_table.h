// SPDX-License-Identifier: Apache-2.0
// The one table that joins checkpoint name and expected shape.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/load/model_config.h"

namespace flashmorph {

struct TensorSpec {
  std::string name;  ///< Hugging Face's, as model.layers.0.self_attn.q_proj.weight
  std::vector<int64_t> shape;
};

/// Every tensor a model of this configuration has, embedding first, then layer by layer, final norm
/// and head last. lm_head.weight is listed only when it is not tied.
std::vector<TensorSpec> tensor_table(const ModelConfig& config);

/// Weights of a model, the elements of its table.
int64_t weight_count(const ModelConfig& config);

/// True for names that may lie in a checkpoint and mean nothing (inv_freq buffers of old Llama
/// files).
bool is_ignored_tensor(const std::string& name);

/// "[2, 3]".
std::string shape_text(const std::vector<int64_t>& shape);

}  // namespace flashmorph
