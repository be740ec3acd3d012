// SPDX-License-Identifier: Apache-2.0
// From a request to what is exported: run, teacher, plan, weights; then the export itself.
#include <charconv>

#include <fmt/format.h>

#include "core/export/export_job.h"
#include "core/export/hybrid_files.h"
#include "core/jobs/eval_job.h"
#include "core/load/checkpoint.h"
#include "core/load/checkpoint_hashes.h"
#include "core/load/safetensors.h"
#include "core/model/hybrid_file.h"
#include "core/run/error.h"
#include "core/run/strict_json.h"
#include "flashmorph_version.h"
#include "kernels/decay_slopes.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

fs::path in_run(const fs::path& folder, const char* file) { return folder / "checkpoints" / file; }

// What --hybrid says: a file, a run folder, the name of a run.
fs::path find_hybrid(const RunConfig& config, const std::string& word) {
  if (fs::is_regular_file(word)) return word;
  const fs::path file = in_run(find_run(config, word), "hybrid.safetensors");
  if (!fs::exists(file))
    throw Error("export", ErrorCode::not_found,
                fmt::format("run {} has no hybrid.safetensors", word),
                "give a distill or finetune run");
  return file;
}

std::string text_of(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

HybridTeacher teacher_of(const fs::path& model, const ModelConfig& config) {
  const CheckpointHashes hashes = checkpoint_hashes(model);
  return {config.name, hashes.config, weights_sha256(model), hashes.tokenizer};
}

// Refuses weights whose metadata names another teacher.
void check_teacher_of(const fs::path& file, const HybridTeacher& teacher) {
  const auto metadata = SafetensorsFile(file).metadata();
  const auto check = [&](const char* key, const std::string& mine, const char* what) {
    const auto found = metadata.find(key);
    if (found != metadata.end() && found->second != mine)
      throw Error(
          "export", ErrorCode::bad_file,
          fmt::format("{} was made from a teacher with other {}", file.filename().string(), what),
          "give the teacher it was made from with --model");
  };
  check("teacher_config_sha256", teacher.config_sha256, "configuration");
  check("teacher_weights_sha256", teacher.weights_sha256, "weights");
}

HybridConfig fresh_description(const ExportSubject& subject) {
  HybridConfig h;
  h.teacher.name = subject.config.name;
  h.selection.method = "hand";
  return h;
}

// Trainings behind a hybrid.safetensors, first to last, as far as the runs they lie in can be
// found; and the word for the plan that the first of them was given.
struct Ancestry {
  std::vector<HybridStage> stages;
  std::string plan_source;
};
Ancestry ancestry_of(fs::path file, const RunConfig& config) {
  Ancestry found;
  for (int generation = 0; generation < 8 && !file.empty(); ++generation) {
    const auto metadata = hybrid_file_info(file).metadata;
    const auto word = [&](const char* key) {
      const auto at = metadata.find(key);
      return at == metadata.end() ? std::string() : at->second;
    };
    const auto count = [&](const char* key) {
      int64_t value = 0;
      const std::string text = word(key);
      std::from_chars(text.data(), text.data() + text.size(), value);
      return value;
    };
    const std::string stage =
        word("stage") == "distill" ? "distil" : word("stage");  // the word of the file format
    found.stages.insert(found.stages.begin(), {stage, count("tokens"), count("steps"),
                                               static_cast<uint64_t>(count("seed")),
                                               word("data_sha256"), nlohmann::json::object()});
    const fs::path run = file.parent_path().parent_path();
    file.clear();
    try {
      const nlohmann::json made = open_run(run).record.config;
      found.plan_source = text_of(made, "plan");
      if (const std::string init = text_of(made, "init"); !init.empty())
        file = find_hybrid(config, init);
    } catch (const Error&) {
      // the file was moved out of its run: what it says itself is all there is
    }
  }
  return found;
}

// The description of the run whose plan a training was given, when it is still there and the plan
// is the same.
std::optional<HybridConfig> description_of(const std::string& run, const LayerPlan& plan,
                                           const RunConfig& config) {
  if (run.empty() || run.find(':') != std::string::npos) return std::nullopt;
  try {
    HybridConfig found =
        load_hybrid_config(find_run(config, run) / "exports" / "hybrid_config.json");
    if (found.plan == plan) return found;
  } catch (const Error&) {
    // uniform, linear, or a run that is gone
  }
  return std::nullopt;
}

}  // namespace

ExportRequest export_request(const nlohmann::json& json, const std::string& where) {
  StrictFields fields(json, where, "export", ErrorCode::bad_request);
  ExportRequest request;
  for (auto& [name, field] :
       {std::pair{"run", &request.run}, std::pair{"runs", &request.runs},
        std::pair{"plan", &request.plan}, std::pair{"model", &request.model},
        std::pair{"aligned", &request.aligned}, std::pair{"hybrid", &request.hybrid},
        std::pair{"target", &request.target}, std::pair{"dtype", &request.dtype},
        std::pair{"out", &request.out}})
    *field = fields.text_or(name, "");
  request.max_shard_bytes =
      fields.integer_or("max_shard_bytes", kDefaultShardBytes, 1 << 20, int64_t{1} << 50);
  fields.finish();
  if (!request.target.empty()) parse_export_target(request.target);
  if (!request.dtype.empty()) parse_export_dtype(request.dtype);
  return request;
}

ExportSubject export_subject(const ExportRequest& request) {
  RunConfig config = default_config();
  config.runs = request.runs;
  ExportSubject subject;
  std::string model = request.model, aligned = request.aligned, hybrid = request.hybrid;
  if (!request.run.empty()) {
    subject.run_folder = find_run(config, request.run);
    subject.record = open_run(subject.run_folder).record;
    if (model.empty()) model = text_of(subject.record->config, "model");
    if (hybrid.empty() && aligned.empty() &&
        fs::exists(in_run(subject.run_folder, "hybrid.safetensors")))
      hybrid = in_run(subject.run_folder, "hybrid.safetensors");
    if (hybrid.empty() && aligned.empty() &&
        fs::exists(in_run(subject.run_folder, "branches.safetensors")))
      aligned = in_run(subject.run_folder, "branches.safetensors");
    if (hybrid.empty() && aligned.empty()) aligned = text_of(subject.record->config, "aligned");
  }
  if (model.empty())
    throw Error("export", ErrorCode::bad_request, "which model is to be exported?",
                "give --run, or --model with --aligned or --hybrid");
  subject.model = model;
  const bool plan_alone = request.target == to_string(ExportTarget::plan);
  try {
    subject.config = inspect_checkpoint(subject.model);
  } catch (const Error&) {
    // A plan needs no weights: it leaves the run also where its model is not.
    if (!plan_alone || !subject.record || !request.model.empty()) throw;
    subject.teacher_found = false;
    subject.config.layers = subject.record->layers;
    aligned.clear();
    hybrid.clear();
  }
  const int layers = static_cast<int>(subject.config.layers);
  std::optional<HybridFileInfo> info;
  if (!hybrid.empty()) {
    subject.hybrid = find_hybrid(config, hybrid);
    info = hybrid_file_info(subject.hybrid);
    subject.branches = info->branches;
  } else if (!aligned.empty()) {
    subject.aligned = find_branches(config, aligned);
    subject.branches = MorphModel::branch_options_of(subject.aligned);
    if (subject.branches.size() == 1)
      subject.branches.assign(static_cast<size_t>(layers), subject.branches[0]);
  } else {
    subject.branches.assign(static_cast<size_t>(layers), BranchOptions{});
  }
  if (static_cast<int>(subject.branches.size()) != layers)
    throw Error("export", ErrorCode::bad_file,
                fmt::format("the branches are for {} layers, the model has {}",
                            subject.branches.size(), layers),
                "give weights that were made for this teacher");

  const fs::path own = subject.run_folder.empty()
                           ? fs::path()
                           : subject.run_folder / "exports" / "hybrid_config.json";
  const bool described = !own.empty() && fs::exists(own);
  subject.description = described ? load_hybrid_config(own) : fresh_description(subject);
  const RunRecord nothing;
  const RunRecord& record = subject.record ? *subject.record : nothing;
  if (!request.plan.empty()) {
    const RunConfig made =
        subject.record ? run_config_of(subject.record->config, "run file") : config;
    subject.plan = plans_of({request.plan}, made, record, layers).front().plan;
  } else if (info) {
    subject.plan = info->plan;
  } else if (described) {
    subject.plan = subject.description.plan;
  } else {
    throw Error("export", ErrorCode::bad_request, "which layer plan is to be exported?",
                fmt::format("give --plan as {}:0,3-5, or a run that made one", layers));
  }
  if (subject.plan.layers != layers || (info && info->plan != subject.plan))
    throw Error("export", ErrorCode::plan_impossible,
                info ? fmt::format("the hybrid was trained for plan {}, not {}",
                                   info->plan.to_string(), subject.plan.to_string())
                     : fmt::format("plan {} is for {} layers, the model has {}",
                                   subject.plan.to_string(), subject.plan.layers, layers),
                "give the plan of these weights");
  if (info) {
    const Ancestry ancestry = ancestry_of(subject.hybrid, config);
    if (!described) {
      if (auto found = description_of(ancestry.plan_source, subject.plan, config))
        subject.description = std::move(*found);
      else if (!ancestry.plan_source.empty() && ancestry.plan_source.find(':') == std::string::npos)
        subject.description.selection.method = ancestry.plan_source.substr(0, 60);
    }
    for (const HybridStage& stage : ancestry.stages) subject.description.training.push_back(stage);
  }
  if (subject.description.plan != subject.plan) subject.description.locks.clear();
  subject.description.plan = subject.plan;
  return subject;
}

std::vector<LintRow> lint_subject(const ExportSubject& subject, ExportDtype dtype) {
  if (!subject.teacher_found) return {};
  return lint(
      {subject.config, subject.plan, subject.branches, dtype, {}, {}, "PreTrainedTokenizerFast"});
}

ExportTarget target_of(const ExportRequest& request, const std::vector<LintRow>& rows) {
  if (!request.target.empty()) return parse_export_target(request.target);
  ExportTarget nearest =
      ExportTarget::plan;  // the one with the fewest objections, for the sentence
  size_t fewest = rows.size() + 1;
  for (const ExportTarget target :
       {ExportTarget::transformers, ExportTarget::fla, ExportTarget::hypenet}) {
    size_t objections = 0;
    for (const LintRow& row : rows)
      objections += row.consumer == consumer_of(target) && row.level == LintLevel::refuse ? 1 : 0;
    if (objections == 0) return target;
    if (objections < fewest) {
      fewest = objections;
      nearest = target;
    }
  }
  require_exportable(rows, nearest);
  return ExportTarget::plan;
}

ExportDtype dtype_of(const ExportRequest& request, ExportTarget target) {
  if (!request.dtype.empty()) return parse_export_dtype(request.dtype);
  return target == ExportTarget::gguf ? ExportDtype::f16 : ExportDtype::bf16;
}

ExportOutcome run_export(const ExportRequest& request, const ExportSubject& subject,
                         const std::string& command, const StopFlag& stop,
                         const ProgressCallback& told) {
  const ExportDtype wanted =
      request.dtype.empty() ? ExportDtype::bf16 : parse_export_dtype(request.dtype);
  const auto rows = lint_subject(subject, wanted);
  const ExportTarget target = target_of(request, rows);
  const ExportDtype dtype = dtype_of(request, target);
  fs::path out = request.out;
  if (out.empty()) {
    if (subject.run_folder.empty())
      throw Error("export", ErrorCode::bad_request, "where shall the export go?",
                  "give --out FOLDER");
    out = subject.run_folder / "exports" /
          (target == ExportTarget::plan   ? "hybrid_config.json"
           : target == ExportTarget::gguf ? "hybrid." + to_string(dtype) + ".gguf"
                                          : to_string(target));
  }
  HybridConfig description = subject.description;
  if (subject.record) description.selection.run_revision = subject.record->revision;
  description.made_with = {std::string(FLASHMORPH_VERSION) + " (" + FLASHMORPH_COMMIT + ")",
                           FLASHMORPH_TORCH_VERSION, "cpu", command, utc_now()};
  if (target == ExportTarget::plan) {
    description.target = {"plan only", to_string(dtype), false, 0, 0};
    description.lint = hybrid_lint(rows);
    save_hybrid_config(out, description);
    ExportOutcome outcome;
    outcome.path = out;
    outcome.lint = rows;
    outcome.description = std::move(description);
    outcome.bytes = static_cast<int64_t>(fs::file_size(out));
    return outcome;
  }
  require_exportable(lint_subject(subject, dtype), target);
  if (subject.hybrid.empty() && subject.aligned.empty() &&
      subject.plan.budget() < subject.plan.layers)
    throw Error("export", ErrorCode::bad_request,
                "the plan has linear layers, but there are no weights for them",
                "give --aligned RUN or --hybrid RUN, or export the plan alone with --target plan");
  description.teacher = teacher_of(subject.model, subject.config);
  for (const fs::path& file : {subject.hybrid, subject.aligned})
    if (!file.empty()) check_teacher_of(file, description.teacher);
  // float32 on the CPU: every file dtype is exact in it.
  const HybridWeights weights = weights_of_files(subject.model, subject.aligned, subject.hybrid,
                                                 subject.plan, subject.branches);
  const BranchOptions* branch = weights.branch();
  if (branch && branch->kind == BranchKind::lightning && !branch->layer_scaled)
    description.branch.slopes = kernels::lightning_slopes(weights.config.heads);
  return export_hybrid(weights, subject.model, std::move(description), target, dtype, out,
                       request.max_shard_bytes, subject.record ? &*subject.record : nullptr, stop,
                       told);
}

}  // namespace flashmorph
