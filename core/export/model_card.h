// SPDX-License-Identifier: Apache-2.0
// README.md of an export: what was replaced, how it was chosen, how to load it, and what to watch
// out for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/export/export_target.h"
#include "core/export/linter.h"
#include "core/run/hybrid_config.h"
#include "core/run/run_record.h"

namespace flashmorph {

struct CardFacts {
  ExportTarget target = ExportTarget::plan;
  std::string file;                ///< of a GGUF, its name
  const RunRecord* run = nullptr;  ///< where recall of the plan may stand
  double kl_nats =
      0;  ///< between the written weights and those they came from, mean of the check prompts
};

/// Markdown. Recall comes from evaluations of this very plan in the run, if there are any.
std::string model_card(const HybridConfig& hybrid, const ModelConfig& teacher,
                       const std::vector<LintRow>& rows, const CardFacts& facts);

}  // namespace flashmorph
