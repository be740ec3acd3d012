// SPDX-License-Identifier: Apache-2.0
// Where a hybrid comes from: a plan with aligned branches, or the file of a run that trained one.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "core/jobs/eval_job.h"
#include "core/jobs/job.h"
#include "core/model/hybrid_file.h"

namespace flashmorph {

/// The hybrid.safetensors that a word names: the file itself, a run folder, the name of a run.
/// Throws Error(not_found).
std::filesystem::path find_hybrid(const RunConfig& config, const std::string& word);
/// A trained hybrid over the session's teacher. Refuses a file made from another teacher (by hash).
/// The session's aligned branches are neither needed nor touched. part: what may train from now on.
HybridModel load_hybrid(const Session& session, const std::filesystem::path& file,
                        std::optional<TrainPart> part = std::nullopt);

/// What distill or finetune starts from, as the config says.
struct HybridStart {
  NamedPlan plan;
  std::filesystem::path branches;  ///< aligned branches; or
  std::filesystem::path init;      ///< a trained hybrid
  std::string parent_uuid;         ///< of the run that made branches or init; may be empty
};
/// plan: "L:ranges", uniform, uniform+N, linear, or a run, whose own plan (its budget's, or the one
/// it trained) is taken and whose branches serve when `aligned` says nothing. Throws
/// Error(bad_request) when there is no plan, or init has another one; Error(no_model) when no
/// branches are found.
HybridStart hybrid_start_of(const RunConfig& config, int layers);
HybridModel make_hybrid(const Session& session, const HybridStart& start, TrainPart part);

}  // namespace flashmorph
