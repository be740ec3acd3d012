// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/plan_export.h"

#include "flashmorph_version.h"
#include "kernels/decay_slopes.h"

namespace flashmorph {

HybridConfig hybrid_config_of(const Session& session, const RunConfig& config, const RunRecord& record, const LayerPlan& plan,
                              const std::vector<Lock>& locks, const std::string& method, const std::vector<double>& score,
                              const std::vector<double>& gates, const std::string& command) {
  const ModelConfig& model = session.teacher().config();
  HybridConfig hybrid;
  hybrid.teacher = {model.name, session.config_sha256(), session.weights_sha256(), session.tokenizer_sha256()};
  hybrid.plan = plan;
  hybrid.locks = locks;
  hybrid.branch.heads = static_cast<int>(model.heads);
  hybrid.branch.head_dim = static_cast<int>(model.head_dim);
  if (session.has_branches()) {
    const BranchOptions& options = session.model().branch(0).options();
    hybrid.branch.kind = to_string(options.kind);
    hybrid.branch.options = options.to_json();
    if (options.kind == BranchKind::lightning && !options.layer_scaled) hybrid.branch.slopes = kernels::lightning_slopes(model.heads);
  }
  hybrid.selection.method = method;
  hybrid.selection.options = changed_json(config);
  if (!score.empty()) hybrid.selection.score = score;
  if (!gates.empty()) {
    hybrid.selection.gates = gates;
    hybrid.selection.window = record.gates.score_window;
  }
  hybrid.selection.seed = static_cast<uint64_t>(config.seed);
  hybrid.selection.run_uuid = record.uuid;
  hybrid.selection.run_revision = record.revision;
  for (const char* stage : {"align", "gates"})
    if (record.provenance.contains(stage) && record.provenance[stage].is_object()) {
      const auto& told = record.provenance[stage];
      const std::string data = told.value("data_sha256", std::string());
      if (std::string(stage) == "gates") {
        hybrid.selection.data_sha256 = data;
        hybrid.selection.tokens = told.value("tokens", int64_t{0});
      }
      hybrid.training.push_back({std::string(stage) == "gates" ? "select" : "align", told.value("tokens", int64_t{0}),
                                 told.value("steps", int64_t{0}), static_cast<uint64_t>(config.seed), data});
    }
  hybrid.target.name = "plan only";
  hybrid.target.dtype = dtype_name(session.teacher().dtype());
  hybrid.made_with = {std::string(FLASHMORPH_VERSION) + " (" + FLASHMORPH_COMMIT + ")", FLASHMORPH_TORCH_VERSION,
                      session.device().str(), command, utc_now()};
  return hybrid;
}

std::filesystem::path write_plan_export(const Job& job, const LayerPlan& plan, const std::vector<Lock>& locks,
                                        const std::string& method, const std::vector<double>& score,
                                        const std::vector<double>& gates) {
  const std::filesystem::path path = job.recorder.folder().exports() / "hybrid_config.json";
  save_hybrid_config(path, hybrid_config_of(job.session, job.config, job.recorder.record(), plan, locks, method, score, gates,
                                            job.command));
  return path;
}

}  // namespace flashmorph
