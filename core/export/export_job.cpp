// SPDX-License-Identifier: Apache-2.0
#include "core/export/export_job.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fcntl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "core/export/fla.h"
#include "core/export/gguf_qwen35.h"
#include "core/export/hypenet.h"
#include "core/export/model_card.h"
#include "core/export/qwen35.h"
#include "core/export/safetensors_folder.h"
#include "core/export/tokenizer_files.h"
#include "core/jobs/session.h"
#include "core/load/json_text.h"
#include "core/load/safetensors.h"
#include "core/model/hybrid_file.h"
#include "core/run/error.h"
#include "core/run/file_io.h"
#include "flashmorph_version.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

// Limits of the comparison of written and original logits: as check_export of the peer tests for
// float32; rounding to lower precision moves predictions by 1e-4 to 2e-2 nats, a wrong layout by
// more than 1.
constexpr double kAbsolute = 1e-3, kRelative = 1e-4, kMostKl = 0.1;

// A folder or file under a temporary name until it is complete.
class Draft {
 public:
  explicit Draft(fs::path goal) : goal_(std::move(goal)), path_(goal_.string() + ".tmp") {
    if (fs::exists(goal_))
      throw Error("export", ErrorCode::bad_request,
                  fmt::format("{} exists already", goal_.string()),
                  "choose another --out, or remove it");
    std::error_code ignored;
    fs::remove_all(path_, ignored);  // of an export that was cut off
    if (goal_.has_parent_path()) fs::create_directories(goal_.parent_path(), ignored);
  }
  ~Draft() {
    std::error_code ignored;
    if (!done_) fs::remove_all(path_, ignored);
  }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  const fs::path& path() const { return path_; }
  void commit() {
    std::error_code wrong;
    fs::rename(path_, goal_, wrong);
    if (wrong) refuse_file_operation("renaming", path_, wrong.value());
    done_ = true;
    const int folder =
        open(goal_.has_parent_path() ? goal_.parent_path().c_str() : ".", O_RDONLY | O_DIRECTORY);
    if (folder >= 0) {
      fsync(folder);
      close(folder);
    }
  }

 private:
  fs::path goal_, path_;
  bool done_ = false;
};

// Enough room before anything is written.
void require_space(const fs::path& folder, int64_t bytes) {
  std::error_code wrong;
  const auto space = fs::space(folder.empty() ? "." : folder, wrong);
  if (!wrong && static_cast<double>(space.available) < 1.02 * static_cast<double>(bytes))
    throw Error(
        "export", ErrorCode::disk_full,
        fmt::format("the export takes {:.2f} GB, {:.2f} GB are free",
                    static_cast<double>(bytes) / 1e9, static_cast<double>(space.available) / 1e9),
        "free some space, or choose another --out or a smaller --dtype");
}

std::vector<CheckPrompt> check_prompts(const Tokenizer* tokenizer, const ModelConfig& config) {
  const std::vector<std::string> texts{
      "The capital of the country is",
      "Clara found a red kettle behind the old market. She asked who had left it there, and nobody "
      "knew.",
      "The river is wide. The hill is green. The pass key is 71432. Remember it, 71432 is the pass "
      "key. The road is long. We walk on. Then we "
      "come home. The river is wide. The hill is green. The road is long. We walk on. Then we come "
      "home. What is the pass key? The pass key is"};
  std::vector<CheckPrompt> prompts;
  const auto most = static_cast<size_t>(std::max<int64_t>(2, config.max_position - 17));
  at::Generator generator = at::detail::createCPUGenerator(7);
  for (size_t i = 0; i < texts.size(); ++i) {
    CheckPrompt one;
    if (tokenizer) one = {texts[i], tokenizer->encode(texts[i], {.add_special = true})};
    if (!tokenizer || one.ids.size() > most || one.ids.empty()) {
      const at::Tensor ids =
          at::randint(0, config.vocab, {static_cast<int64_t>(std::min<size_t>(most, 10 + 70 * i))},
                      generator, at::TensorOptions().dtype(at::kLong));
      one = {"", {ids.const_data_ptr<int64_t>(), ids.const_data_ptr<int64_t>() + ids.numel()}};
    }
    prompts.push_back(std::move(one));
  }
  return prompts;
}

at::Tensor ids_of(const CheckPrompt& prompt) {
  return at::tensor(at::ArrayRef<int64_t>(prompt.ids), at::kLong);
}

// Logits of the model as it was written against those it came from; a layer in memory at a time.
void compare(const HybridWeights& source, const HybridWeights& written,
             const std::vector<CheckPrompt>& prompts, ExportDtype dtype, const fs::path& logits,
             const std::function<void()>& check_stop, ExportOutcome& outcome) {
  std::vector<at::Tensor> rows_of_ids;
  for (const CheckPrompt& prompt : prompts) rows_of_ids.push_back(ids_of(prompt));
  const auto before = logits_by_layer(source, rows_of_ids, check_stop),
             after = logits_by_layer(written, rows_of_ids, check_stop);
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  double kl = 0, limit = kAbsolute;
  int64_t rows = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const at::Tensor &ids = rows_of_ids[i], &want = before[i], &got = after[i];
    if (!at::isfinite(got).all().item<bool>())
      throw Error("export", ErrorCode::non_finite,
                  "the written model gives logits that are not finite", "use --dtype bf16 or f32");
    outcome.max_abs = std::max(outcome.max_abs, (want - got).abs().max().item<double>());
    limit = std::max(limit, kAbsolute + kRelative * want.abs().max().item<double>());
    const at::Tensor p = want.log_softmax(-1);
    kl += (p.exp() * (p - got.log_softmax(-1))).sum().item<double>();
    rows += ids.numel();
    tensors.emplace_back(fmt::format("input_ids_{}", i), ids);
    tensors.emplace_back(fmt::format("logits_{}", i), got);
    if (!prompts[i].text.empty()) metadata[fmt::format("text_{}", i)] = prompts[i].text;
  }
  outcome.mean_kl_nats = kl / static_cast<double>(rows);
  if (dtype == ExportDtype::f32 ? outcome.max_abs > limit : outcome.mean_kl_nats > kMostKl)
    throw Error("export", ErrorCode::export_refused,
                fmt::format("the written model disagrees with its source: logits differ by up to "
                            "{:.3g}, mean KL {:.3g} nats",
                            outcome.max_abs, outcome.mean_kl_nats),
                "use --dtype f32, and report this if it stays");
  write_safetensors(logits, tensors, metadata);
  outcome.logits = logits;
}

int64_t bytes_in(const fs::path& path) {
  if (fs::is_regular_file(path)) return static_cast<int64_t>(fs::file_size(path));
  int64_t total = 0;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_regular_file()) total += static_cast<int64_t>(entry.file_size());
  return total;
}

std::string target_name(ExportTarget target) {
  switch (target) {
    case ExportTarget::transformers:
      return "transformers/qwen3_5_text";
    case ExportTarget::fla:
      return "fla/gated_deltanet";
    case ExportTarget::hypenet:
      return "flashmorph_hybrid";
    case ExportTarget::gguf:
      return "llama.cpp/qwen35";
    case ExportTarget::plan:
      break;
  }
  return "plan only";
}

nlohmann::json read_config(const fs::path& folder) {
  return parse_json(read_whole_file(folder / "config.json", uint64_t{4} << 20), "config.json");
}

HybridWeights read_back(ExportTarget target, const fs::path& path) {
  if (target == ExportTarget::gguf) return gguf_qwen35_weights(path);
  const nlohmann::json config = read_config(path);
  const auto tensors = read_weights(path);
  const std::string where = path.filename().string();
  return target == ExportTarget::transformers ? qwen35_weights(config, tensors, where)
         : target == ExportTarget::fla        ? fla_weights(config, tensors, where)
                                              : hypenet_weights(config, tensors, where);
}

void describe_branch(const HybridWeights& weights, HybridConfig& description) {
  description.plan = weights.plan;
  description.branch.heads = static_cast<int>(weights.config.heads);
  description.branch.head_dim = static_cast<int>(weights.config.head_dim);
  const BranchOptions* branch = weights.branch();
  if (!branch) return;
  description.branch.kind = to_string(branch->kind);
  description.branch.options = branch->to_json();
}

}  // namespace

nlohmann::json ExportOutcome::to_json() const {
  return {{"path", path.string()},
          {"logits", logits.string()},
          {"target", to_string(target)},
          {"dtype", to_string(dtype)},
          {"plan", description.plan.to_string()},
          {"tensors", tensors},
          {"bytes", bytes},
          {"max_abs", max_abs},
          {"mean_kl_nats", mean_kl_nats},
          {"norm_max_rel_error", description.target.norm_max_rel_error},
          {"lint", flashmorph::to_json(lint)}};
}

ExportOutcome export_hybrid(const HybridWeights& weights, const fs::path& teacher,
                            HybridConfig description, ExportTarget target, ExportDtype dtype,
                            const fs::path& path, int64_t max_shard_bytes, const RunRecord* record,
                            const StopFlag& stop, const ProgressCallback& told) {
  const at::NoGradGuard no_grad;
  const auto step = [&](const char* what, int64_t done, int64_t total) {
    if (stop.is_set())
      throw Error("export", ErrorCode::stopped, "export stopped, nothing was left behind",
                  "start it again");
    told({what, done, total, 0});
  };
  step("tensors", 0, 1);
  LintInput input{weights.config, weights.plan, weights.branches, dtype, {}, {}, {}};
  if (target != ExportTarget::gguf && !teacher.empty())
    input.tokenizer_class = "PreTrainedTokenizerFast";
  require_exportable(lint(input), target);
  const bool gguf = target == ExportTarget::gguf;
  TargetModel model = target == ExportTarget::transformers || gguf ? qwen35_model(weights, dtype)
                      : target == ExportTarget::fla                ? fla_model(weights, dtype)
                                                                   : hypenet_model(weights, dtype);
  input.norm_max_rel_error = model.norm_max_rel_error;
  input.decay_max_rel_error = model.decay_max_rel_error;
  ExportOutcome outcome;
  outcome.target = target;
  outcome.dtype = dtype;
  outcome.lint = lint(input);
  outcome.tensors = static_cast<int64_t>(model.tensors.size());
  describe_branch(weights, description);
  description.target = {target_name(target), to_string(dtype), model.norm_rescaled && !gguf,
                        gguf ? 0 : model.norm_max_rel_error, outcome.tensors};
  description.lint = hybrid_lint(outcome.lint);

  int64_t expected = 0;
  for (const TargetTensor& one : model.tensors)
    expected += one.value.numel() * (dtype == ExportDtype::f32 || one.keep_float32 ? 4 : 2);
  Draft draft(path);
  require_space(path.parent_path(), expected);
  std::optional<Tokenizer> tokenizer;
  if (!teacher.empty()) tokenizer = Tokenizer::load(teacher);
  const auto written = [&](int64_t done, int64_t total) { step("bytes", done, total); };
  if (gguf) {
    write_gguf_qwen35(draft.path(), weights, teacher, dtype, written);
  } else {
    std::error_code wrong;
    if (!fs::create_directories(draft.path(), wrong) && wrong)
      refuse_file_operation("making", draft.path(), wrong.value());
    write_weights(draft.path(), model.tensors, scalar_type_of(dtype), max_shard_bytes, written);
    write_file_atomic(draft.path() / "config.json", model.config.dump(2) + "\n");
    if (target == ExportTarget::hypenet)
      for (const auto& [name, text] : modeling_files())
        write_file_atomic(draft.path() / name, text);
    if (tokenizer) {
      write_tokenizer_files(teacher, weights.config, draft.path());
      check_same_ids(*tokenizer, draft.path());
    }
  }
  model.tensors.clear();
  step("check prompts", 0, 3);
  const fs::path logits = path.parent_path() / (path.filename().string() + ".logits.safetensors");
  compare(
      weights, read_back(target, draft.path()),
      check_prompts(tokenizer ? &*tokenizer : nullptr, weights.config), dtype, logits,
      [&] { step("check prompts", 1, 3); }, outcome);
  step("check prompts", 3, 3);
  const std::string card =
      model_card(description, weights.config, outcome.lint,
                 {target, path.filename().string(), record, outcome.mean_kl_nats});
  if (gguf) {
    write_file_atomic(path.string() + ".md", card);
    save_hybrid_config(path.string() + ".hybrid_config.json", description);
  } else {
    write_file_atomic(draft.path() / "README.md", card);
    save_hybrid_config(draft.path() / "hybrid_config.json", description);
  }
  outcome.bytes = bytes_in(draft.path());
  draft.commit();
  outcome.path = path;
  outcome.description = std::move(description);
  return outcome;
}

}  // namespace flashmorph
