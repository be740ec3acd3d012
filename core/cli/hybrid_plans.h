// SPDX-License-Identifier: Apache-2.0
// `flashmorph distill --plans A B C`: several plans with equal tokens, one comparison; and the
// preflight of all of them.
#pragma once

#include "core/cli/program.h"
#include "core/jobs/hybrid_job.h"

namespace flashmorph {

/// One run of distill or finetune from open to close, reported. json, folder: what it left; on_stop
/// is called when it was stopped and throws.
HybridOutcome train_hybrid(CommandContext& context, Session& session, const RunConfig& config,
                           nlohmann::json& json, std::filesystem::path& folder,
                           const std::function<void()>& on_stop);

/// Trains each plan in a run of its own, RUN-PLAN, then keeps every recall map, the teacher's too,
/// in run RUN with the tables exports/comparison.{csv,json}, and has the window's program paint it.
int train_plans(CommandContext& context, const RunConfig& config);

/// Memory, disk, tokens and time of each plan and of all; 1 if one of them would not start.
int preflight_plans(CommandContext& context, const RunConfig& config);

}  // namespace flashmorph
