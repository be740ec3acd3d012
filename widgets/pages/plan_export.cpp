// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/pages/plan_export.h"

namespace flashmorph {

using nlohmann::json;

namespace {

std::string word(const json& object, std::initializer_list<const char*> keys) {
  if (object.is_object())
    for (const char* key : keys)
      if (const auto it = object.find(key); it != object.end() && it->is_string()) return it->get<std::string>();
  return {};
}
int64_t number(const json& object, const char* key) {
  if (!object.is_object()) return 0;
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<int64_t>() : 0;
}

}  // namespace

HybridConfig planExport(const RunRecord& record, const LayerPlan& plan, const std::vector<Lock>& locks) {
  HybridConfig hybrid;
  const json& told = record.provenance;
  hybrid.teacher = {word(record.model, {"name"}), word(told, {"config_sha256"}), word(told, {"weights_sha256", "model_sha256", "teacher_sha256"}),
                    word(told, {"tokenizer_sha256"})};
  if (hybrid.teacher.name.empty()) hybrid.teacher.name = word(record.config, {"model"});
  hybrid.plan = plan;
  hybrid.locks = locks;
  hybrid.branch.kind = word(record.config, {"branch"});
  hybrid.branch.heads = static_cast<int>(number(record.model, "heads"));
  hybrid.branch.head_dim = static_cast<int>(number(record.model, "head_dim"));
  hybrid.selection.method = record.kind == "select" ? word(record.config, {"method"}) : record.gates.alpha.empty() ? std::string("hand") : std::string("gates");
  hybrid.selection.options = record.config;
  hybrid.selection.seed = static_cast<uint64_t>(std::max<int64_t>(0, number(record.config, "seed")));
  hybrid.selection.run_uuid = record.uuid;
  hybrid.selection.run_revision = record.revision;
  try {
    const GateScore score = record.score();
    if (score.score.size() == static_cast<size_t>(record.layers)) hybrid.selection.score = score.score;
  } catch (const std::exception&) {
    // No score: the plan was made by hand.
  }
  const size_t L = static_cast<size_t>(record.layers);
  if (record.gates.alpha.size() >= L && L > 0) {
    hybrid.selection.gates.emplace(record.gates.alpha.end() - static_cast<std::ptrdiff_t>(L), record.gates.alpha.end());
    hybrid.selection.window = record.gates.score_window;
  }
  for (const char* stage : {"align", "gates"})
    if (told.is_object() && told.contains(stage) && told[stage].is_object()) {
      const json& one = told[stage];
      const bool gates = std::string(stage) == "gates";
      if (gates) {
        hybrid.selection.data_sha256 = word(one, {"data_sha256"});
        hybrid.selection.tokens = number(one, "tokens");
      }
      hybrid.training.push_back({gates ? "select" : "align", number(one, "tokens"), number(one, "steps"), hybrid.selection.seed, word(one, {"data_sha256"}), json::object()});
    }
  hybrid.target.name = "plan only";
  hybrid.target.dtype = word(told, {"dtype"});
  hybrid.made_with = {record.generator, word(told, {"torch"}), word(told, {"device"}), word(told, {"command"}), utc_now()};
  return hybrid;
}

}  // namespace flashmorph
