// SPDX-License-Identifier: Apache-2.0
// Stages 3 and 4 as jobs: a hybrid is trained, probed on the way, recorded and left as
// checkpoints/hybrid.safetensors.
#pragma once

#include <optional>

#include "core/jobs/hybrid_source.h"
#include "core/train/hybrid_trainer.h"

namespace flashmorph {

/// Stage of a command or run kind. Throws Error(bad_request).
TrainStage parse_train_stage(const std::string& command);
/// The options of `config.command`'s stage. micro_batch 0 stays 0 (settle_memory chooses),
/// checkpointing as far as it is a word.
TrainOptions train_options_of(const RunConfig& config, TrainStage stage);

/// Recall of the hybrid at one moment. weights: the id its evaluation is recorded under: aligned
/// (before, from aligned branches), init (before, from another hybrid), step-N, distilled (after,
/// of both stages).
struct RecallProbe {
  std::string weights;
  int64_t step = 0;
  RecallGrid grid;
};

struct HybridOutcome {
  TrainResult result;
  NamedPlan plan;
  EvalSet set;
  std::vector<RecallProbe>
      probes;                  ///< in the order of the steps; complete unless the job was stopped
  std::filesystem::path file;  ///< hybrid.safetensors
};

/// Trains, and evaluates recall before, every probe_every steps and after. The final weights are in
/// checkpoints/hybrid.safetensors; while it runs and when it is stopped,
/// checkpoints/train.safetensors is what resumed goes on from. job.config.command, or the run's
/// kind, says the stage.
HybridOutcome run_hybrid_job(const Job& job, bool resumed);

}  // namespace flashmorph
