// SPDX-License-Identifier: Apache-2.0
// What transformers, vLLM, SGLang, llama.cpp, fla and our own class make of a hybrid: load it,
// misread it, or refuse it, and why (formats 6).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/export/export_target.h"
#include "core/model/linear_branch.h"
#include "core/run/hybrid_config.h"

namespace flashmorph {

enum class LintLevel { ok, warn, refuse };
std::string to_string(LintLevel level);

struct LintRow {
  std::string consumer;  ///< transformers, vllm, sglang, llama.cpp, fla, hypenet, plan
  LintLevel level = LintLevel::ok;
  std::string rule;     ///< stable id, as sglang_interval
  std::string message;  ///< one sentence that names layers
  std::string cure;     ///< the next step, may be empty
};

/// What the rules look at. Everything but config, plan and branches may stay unknown; then the
/// rules about it are silent.
struct LintInput {
  ModelConfig config;
  LayerPlan plan;
  std::vector<BranchOptions> branches;  ///< [L]; entries of full layers are not read
  ExportDtype dtype = ExportDtype::bf16;
  std::optional<double> norm_max_rel_error, decay_max_rel_error;  ///< of a TargetModel
  std::optional<std::string>
      tokenizer_class;  ///< of the tokenizer_config.json that will be written
};

/// All rows of all consumers, in a fixed order; a consumer without objection has one row `ok`.
std::vector<LintRow> lint(const LintInput& input);
/// The consumer an export target is made for: transformers, fla, hypenet, llama.cpp or plan.
std::string consumer_of(ExportTarget target);
/// The worst level of a consumer's rows.
LintLevel worst(const std::vector<LintRow>& rows, const std::string& consumer);
/// Throws Error(export_refused) with the first refusal of the target's consumer.
void require_exportable(const std::vector<LintRow>& rows, ExportTarget target);

/// [{"target", "level", "rule", "message", "cure"}].
nlohmann::json to_json(const std::vector<LintRow>& rows);
/// For hybrid_config.json.
std::vector<HybridLint> hybrid_lint(const std::vector<LintRow>& rows);

}  // namespace flashmorph
