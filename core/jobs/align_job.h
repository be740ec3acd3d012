// SPDX-License-Identifier: Apache-2.0
// Stage 1 as a job: branches are made or taken up again, trained, recorded and saved in the run.
#pragma once

#include "core/jobs/job.h"
#include "core/train/aligner.h"

namespace flashmorph {

/// Branch options of every layer as the config has them.
std::vector<BranchOptions> branch_options_of(const RunConfig& config, int layers);
AlignOptions align_options_of(const RunConfig& config);

/// Trains and leaves checkpoints/branches.safetensors in the run; the session then has these branches. When stopped,
/// checkpoints/align.safetensors is left to go on from. resumed: go on at that checkpoint.
AlignResult run_align_job(const Job& job, bool resumed);

}  // namespace flashmorph
