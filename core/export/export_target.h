// SPDX-License-Identifier: Apache-2.0
// The forms a hybrid can leave in, and what a form makes of its weights.
#pragma once

#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "core/export/lazy_tensor.h"
#include "core/load/model_config.h"

namespace flashmorph {

/// transformers: stock class Qwen3_5ForCausalLM; fla: gated_deltanet; hypenet: our own class
/// flashmorph_hybrid in HypeNet's schema; gguf: architecture qwen35 of llama.cpp; plan:
/// hybrid_config.json alone.
enum class ExportTarget { transformers, fla, hypenet, gguf, plan };
ExportTarget parse_export_target(
    const std::string& name);  ///< throws Error(bad_request) listing the words
std::string to_string(ExportTarget target);
/// All of them, in the order of the enum.
const std::vector<ExportTarget>& export_targets();

enum class ExportDtype { f32, bf16, f16, q8_0 };
ExportDtype parse_export_dtype(
    const std::string& name);  ///< throws Error(bad_request) listing the words
std::string to_string(ExportDtype dtype);
/// The tensor type; q8_0 has none and gives float32.
at::ScalarType scalar_type_of(ExportDtype dtype);

/// Whether every number is, looked at piece by piece.
bool all_finite(const at::Tensor& values);

/// One tensor of a written model.
struct TargetTensor {
  std::string name;
  LazyTensor value;
  bool keep_float32 = false;  ///< small and sensitive: stored in float32 whatever the dtype
};

/// What a target makes of a hybrid, before anything is rounded. Refers to the hybrid it was made
/// of: use it while that lives.
struct TargetModel {
  nlohmann::json config;  ///< config.json
  std::vector<TargetTensor> tensors;
  bool norm_rescaled = false;  ///< norms carry a power of two that the next matrices take back
  double norm_max_rel_error =
      0;  ///< of the norms that could not be rescaled, once they are cast to bfloat16
  double decay_max_rel_error = 0;  ///< of the decay rates, once A_log is cast to bfloat16
};

}  // namespace flashmorph
