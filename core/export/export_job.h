// SPDX-License-Identifier: Apache-2.0
// Export as a job: lint, write beside the goal, read back with our own reader, compare logits,
// rename (formats 8).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/export/export_target.h"
#include "core/export/hybrid_weights.h"
#include "core/export/linter.h"
#include "core/run/hybrid_config.h"
#include "core/run/progress.h"
#include "core/run/run_record.h"

namespace flashmorph {

constexpr int64_t kDefaultShardBytes = 5'000'000'000;

/// What to export and how. Names are those of `flashmorph export` (--max-shard-bytes) and of the
/// parameters of export.start.
struct ExportRequest {
  std::string run, runs;  ///< run whose plan, teacher and branches are taken
  std::string plan;       ///< plan text, or name or id of a saved plan; "": the run's own
  std::string model;      ///< teacher; "": the run's
  std::string aligned;    ///< branches.safetensors or run with aligned branches; "": the run's
  std::string hybrid;  ///< hybrid.safetensors of a distilled or finetuned run, or that run; "": the
                       ///< run's if it has one
  std::string
      target;  ///< transformers, fla, hypenet, gguf, plan; "": the first that the branches allow
  std::string dtype;  ///< f32, bf16, f16, q8_0; "": bf16 (f16 for gguf)
  std::string out;    ///< folder to make (file for gguf and plan); "": exports/TARGET of the run
  int64_t max_shard_bytes = kDefaultShardBytes;
};
/// From the parameters of a request; refuses unknown names. Throws Error(bad_request).
ExportRequest export_request(const nlohmann::json& json, const std::string& where);

/// A request with everything found, weights not loaded yet.
struct ExportSubject {
  std::filesystem::path model, aligned, hybrid, run_folder;  ///< empty: none
  ModelConfig config;
  LayerPlan plan;
  std::vector<BranchOptions> branches;  ///< [L]
  HybridConfig description;             ///< of the run, or as much as is known
  std::optional<RunRecord> record;
  bool teacher_found = true;  ///< false: the plan alone of a run whose model is not here any more
};
/// Finds run, teacher, plan and weights; reads headers only. Throws Error(bad_request, not_found,
/// plan_impossible, bad_file).
ExportSubject export_subject(const ExportRequest& request);
/// The rules for it (formats 6), with what is known before weights are loaded.
std::vector<LintRow> lint_subject(const ExportSubject& subject, ExportDtype dtype);
/// The target of a request, or the first of transformers, fla, hypenet whose consumer does not
/// refuse. Throws Error(export_refused) with the reason of the nearest when there is none; the plan
/// alone has to be asked for.
ExportTarget target_of(const ExportRequest& request, const std::vector<LintRow>& rows);
ExportDtype dtype_of(const ExportRequest& request, ExportTarget target);

struct ExportOutcome {
  std::filesystem::path path;  ///< folder, or file for gguf and plan
  std::filesystem::path
      logits;  ///< logits.safetensors beside it, for other people's checks; empty for plan
  ExportTarget target = ExportTarget::plan;
  ExportDtype dtype = ExportDtype::bf16;
  int64_t tensors = 0, bytes = 0;
  double max_abs = 0,
         mean_kl_nats = 0;  ///< logits of the written weights against the ones they came from
  std::vector<LintRow> lint;
  HybridConfig description;
  nlohmann::json to_json() const;
};

/// The whole way. command: for hybrid_config.json. Throws Error(export_refused) with the linter's
/// sentence, when the written model disagrees with its source, or when a tensor is not finite;
/// Error(stopped); Error(disk_full). Nothing is left behind then.
ExportOutcome run_export(const ExportRequest& request, const ExportSubject& subject,
                         const std::string& command, const StopFlag& stop,
                         const ProgressCallback& told);

/// A prompt of the check: ids and the text they came from ("" for ids alone).
struct CheckPrompt {
  std::string text;
  std::vector<int64_t> ids;
};
/// The part of it that needs no run: writes weights and description of a hybrid into `folder` (or
/// the .gguf file) and checks it. teacher: path of the teacher, for its tokenizer; empty: none is
/// written and prompts are drawn at random.
ExportOutcome export_hybrid(const HybridWeights& weights, const std::filesystem::path& teacher,
                            HybridConfig description, ExportTarget target, ExportDtype dtype,
                            const std::filesystem::path& path, int64_t max_shard_bytes,
                            const RunRecord* record, const StopFlag& stop,
                            const ProgressCallback& told);

}  // namespace flashmorph
