// SPDX-License-Identifier: Apache-2.0
#include "core/export/linter.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/export/qwen35.h"
#include "core/run/error.h"

namespace flashmorph {

namespace {

constexpr double kMuch = 0.01;  // relative error worth a word
constexpr const char* kPlanAlone = "export the plan alone (--target plan)";

std::string list_of(const std::vector<int>& layers) {
  return fmt::format("{}", fmt::join(layers, ", "));
}

// Rows of one consumer.
class Rules {
 public:
  Rules(std::string consumer, std::vector<LintRow>& rows)
      : consumer_(std::move(consumer)), rows_(rows) {}
  ~Rules() {
    if (!objected_) rows_.push_back({consumer_, LintLevel::ok, "ok", ok_, ""});
  }
  Rules(const Rules&) = delete;
  Rules& operator=(const Rules&) = delete;
  void otherwise(std::string text) { ok_ = std::move(text); }
  void refuse(bool fires, const char* rule, const std::string& message, const std::string& cure) {
    row(fires, LintLevel::refuse, rule, message, cure);
  }
  void warn(bool fires, const char* rule, const std::string& message, const std::string& cure) {
    row(fires, LintLevel::warn, rule, message, cure);
  }

 private:
  void row(bool fires, LintLevel level, const char* rule, const std::string& message,
           const std::string& cure) {
    if (!fires) return;
    objected_ = true;
    rows_.push_back({consumer_, level, rule, message, cure});
  }
  std::string consumer_, ok_ = "loads as it is";
  std::vector<LintRow>& rows_;
  bool objected_ = false;
};

// Linear layers for which `wrong` holds.
template <typename Predicate>
std::vector<int> layers_where(const LintInput& in, Predicate&& wrong) {
  std::vector<int> layers;
  for (int l = 0; l < in.plan.layers; ++l)
    if (!in.plan.is_full(l) && wrong(in.branches.at(static_cast<size_t>(l)))) layers.push_back(l);
  return layers;
}

bool forms_differ(const LintInput& in) {
  const BranchOptions* first = nullptr;
  for (int l = 0; l < in.plan.layers; ++l) {
    if (in.plan.is_full(l)) continue;
    const BranchOptions& here = in.branches.at(static_cast<size_t>(l));
    if (first && first->to_json() != here.to_json()) return true;
    first = &here;
  }
  return false;
}

void check_gdn(Rules& rules, const LintInput& in, bool double_beta_allowed) {
  const auto fires = [&](const char* rule, auto&& wrong, const char* what, const char* cure) {
    const auto layers = layers_where(in, wrong);
    rules.refuse(!layers.empty(), rule,
                 layers.empty() ? "" : fmt::format("{} (layers {})", what, list_of(layers)), cure);
  };
  using B = BranchOptions;
  const auto gdn = [](const B& b) { return b.kind == BranchKind::gdn; };
  const auto others = layers_where(in, [&](const B& b) { return !gdn(b); });
  rules.refuse(!others.empty(), "branch_kind",
               others.empty()
                   ? ""
                   : fmt::format("the linear branch is {}, only gdn fits (layers {})",
                                 to_string(in.branches.at(static_cast<size_t>(others[0])).kind),
                                 list_of(others)),
               "align gdn branches (--branch gdn), or use --target hypenet for lightning");
  fires(
      "gdn_silu", [&](const B& b) { return gdn(b) && !b.silu; },
      "gdn without SiLU on q, k, v does not fit", "align with --branch-silu on");
  fires(
      "gdn_rope", [&](const B& b) { return gdn(b) && b.rope; }, "gdn with RoPE does not fit",
      "align with --branch-rope off");
  fires(
      "gdn_qk_norm", [&](const B& b) { return gdn(b) && b.qk_norm; },
      "gdn with q/k norm weights does not fit", "align with --branch-qk-norm off");
  if (!double_beta_allowed)
    fires(
        "gdn_beta", [&](const B& b) { return gdn(b) && b.double_beta; },
        "gdn with beta in (0, 2) does not fit", "align without --branch-double-beta");
  rules.refuse(others.empty() && forms_differ(in), "branch_forms",
               "the branches of the linear layers differ in form",
               "align all of them with the same options");
}

// What Qwen3.5's class, and so everybody who serves it, cannot express.
void check_qwen35(Rules& rules, const LintInput& in) {
  rules.refuse(in.config.family != "qwen3", "teacher_family",
               fmt::format("the teacher is of family {}, Qwen3.5's class takes Qwen3 layers only",
                           in.config.family),
               "use --target fla for gdn on Llama kinds, --target hypenet for lightning");
  rules.refuse(in.plan.budget() == 0, "no_full_layer",
               "no layer is full: cached calls of this class fail", "keep at least one full layer");
  rules.refuse(!in.config.rope.freq_factors.empty(), "rope_factors",
               "the rope of this GGUF teacher is a list of factors, no field holds it",
               "load the teacher from its Hugging Face directory");
  check_gdn(rules, in, false);
}

void check_dtype(Rules& rules, const LintInput& in) {
  rules.refuse(in.dtype == ExportDtype::q8_0, "dtype",
               "q8_0 is a GGUF type, safetensors have none of it",
               "use --dtype bf16, f16 or f32, or --target gguf");
}

void check_rounding(Rules& rules, const LintInput& in) {
  const double norm = in.norm_max_rel_error.value_or(0), decay = in.decay_max_rel_error.value_or(0);
  rules.warn(norm > kMuch, "norm_rounding",
             fmt::format("loaded in bfloat16, norms that cannot be rescaled move by up to {:.1f} %",
                         100 * norm),
             "load it with dtype=float32");
  rules.warn(decay > kMuch, "decay_rounding",
             fmt::format("loaded in bfloat16, decay rates move by up to {:.1f} % (A_log is cast)",
                         100 * decay),
             "load it with dtype=float32");
  rules.warn(in.dtype == ExportDtype::f16, "float16",
             "float16 weights were never tried with this class and can overflow",
             "use --dtype bf16 or f32");
}

void lint_transformers(std::vector<LintRow>& rows, const LintInput& in) {
  Rules rules("transformers", rows);
  rules.otherwise("loads with the stock class Qwen3_5ForCausalLM, no remote code");
  check_qwen35(rules, in);
  check_dtype(rules, in);
  check_rounding(rules, in);
  rules.warn(
      in.tokenizer_class && *in.tokenizer_class != "PreTrainedTokenizerFast", "tokenizer_class",
      fmt::format("tokenizer_class {}: transformers rebuilds the tokenizer and may give other ids",
                  in.tokenizer_class.value_or("").empty() ? "is not set" : *in.tokenizer_class),
      "set it to PreTrainedTokenizerFast");
}

// Read, not run: vllm/model_executor/models/qwen3_5.py at commit 00def4f84211. A decoder layer is
// linear_attention or full_attention as config.layer_types[index] says, another word is a
// ValueError, so irregular plans are served; model_type must be qwen3_5_text; in_proj_{qkv,z,b,a}
// and q, k, v are packed while loading; norms are GemmaRMSNorm (1 + w). There the states of linear
// layers belong to the multimodal class alone (Qwen3_5ForCausalLMBase is no IsHybrid), hence the
// warning; that 0.33.0 registers Qwen3_5ForCausalLM by itself stands in formats 6. No class for
// fla's gated_deltanet or for lightning layers.
void lint_vllm(std::vector<LintRow>& rows, const LintInput& in) {
  Rules rules("vllm", rows);
  const auto lightning =
      layers_where(in, [](const BranchOptions& b) { return b.kind != BranchKind::gdn; });
  rules.refuse(!lightning.empty(), "no_class",
               lightning.empty()
                   ? ""
                   : fmt::format("vLLM has no class for {} layers ({})",
                                 to_string(in.branches.at(static_cast<size_t>(lightning[0])).kind),
                                 list_of(lightning)),
               "align gdn branches on a Qwen3 teacher to be served");
  if (lightning.empty()) check_qwen35(rules, in);
  if (lightning.empty() && in.config.family == "qwen3")
    rules.warn(true, "release",
               "releases before mid-2026 know only the multimodal class and do not load this "
               "(source of 0.33.0 read, not run)",
               "use vLLM 0.33.0 or newer");
}

// Read, not run: python/sglang/srt/configs/qwen3_5.py at commit 0f6f0002e7c3 (Qwen3_5TextConfig is
// a Qwen3NextConfig), configs/qwen3_next.py at commit 041bacd339d7 (layers_block_type: full where
// (l + 1) % full_attention_interval == 0; layer_types is taken and dropped, the interval has no
// default, so without it loading ends in an AttributeError) and models/qwen3_5.py at commit
// 005fa711897e (layers are made by config.layers_block_type, weights under other names are only
// warned about: a wrong interval runs and is wrong). partial_rotary_factor is the top-level one,
// 0.25 when absent.
void lint_sglang(std::vector<LintRow>& rows, const LintInput& in) {
  Rules rules("sglang", rows);
  rules.otherwise("reads the interval of this periodic plan (source of 0.5.23 read, not run)");
  const auto others =
      layers_where(in, [](const BranchOptions& b) { return b.kind != BranchKind::gdn; });
  rules.refuse(!others.empty(), "no_class",
               others.empty()
                   ? ""
                   : fmt::format("SGLang has no class for {} layers ({})",
                                 to_string(in.branches.at(static_cast<size_t>(others[0])).kind),
                                 list_of(others)),
               "align gdn branches on a Qwen3 teacher to be served");
  if (!others.empty()) return;
  check_qwen35(rules, in);
  if (in.plan.budget() == 0 || full_interval(in.plan) > 0) return;
  const int n = std::max(1, in.plan.layers / std::max(1, in.plan.budget()));
  std::vector<int> read;
  for (int l = n - 1; l < in.plan.layers; l += n) read.push_back(l);
  rules.refuse(true, "sglang_interval",
               fmt::format("SGLang computes full layers from an interval and would read {} as full "
                           "instead of {}; without the interval, as "
                           "exported, it fails loudly",
                           list_of(read), list_of(in.plan.full)),
               fmt::format("serve with another program, or choose the periodic plan {}",
                           LayerPlan::of(in.plan.layers, read).to_string()));
}

void lint_llama_cpp(std::vector<LintRow>& rows, const LintInput& in) {
  Rules rules("llama.cpp", rows);
  rules.otherwise("loads as architecture qwen35 (--target gguf)");
  check_qwen35(rules, in);
  rules.refuse(in.config.qkv_bias || in.config.o_bias, "attention_bias",
               "architecture qwen35 has no biases in attention", "use --target transformers");
  rules.refuse(
      in.config.rope.type != "default" && in.config.rope.type != "linear" &&
          in.config.rope.type != "yarn",
      "rope_scaling",
      fmt::format("rope scaling {} has no GGUF key that qwen35 reads", in.config.rope.type),
      "use --target transformers");
  rules.warn(full_interval(in.plan) == 0 && in.plan.budget() > 0, "recurrent_layers",
             fmt::format("full layers {} are not periodic: builds that ignore "
                         "qwen35.attention.recurrent_layers, and files made by the gguf "
                         "0.19.0 package, read every fourth layer as full",
                         list_of(in.plan.full)),
             "use --target gguf, which writes the list, and a llama.cpp that reads it");
}

void lint_fla(std::vector<LintRow>& rows, const LintInput& in) {
  Rules rules("fla", rows);
  const ModelConfig& c = in.config;
  rules.refuse(c.qk_norm, "qk_norm",
               "fla's full layers have no q/k norm, they would ignore the weights",
               "use --target transformers for Qwen3");
  rules.refuse(c.head_dim * c.heads != c.hidden, "head_dim",
               fmt::format("fla's full layers have head size {}, the teacher's is {}",
                           c.hidden / std::max<int64_t>(1, c.heads), c.head_dim),
               kPlanAlone);
  rules.refuse(c.rope.type != "default" || !c.rope.freq_factors.empty(), "rope_scaling",
               "fla's full layers know no scaled RoPE", kPlanAlone);
  rules.refuse(c.o_bias, "o_bias", "fla's full layers have no bias on the output projection",
               kPlanAlone);
  rules.refuse(c.mlp_bias, "mlp_bias", "fla's feed-forward has no biases", kPlanAlone);
  check_gdn(rules, in, true);
  check_dtype(rules, in);
  rules.warn(true, "needs_gpu",
             "forward needs a GPU with Triton, and flash_attn even to build full layers; `import "
             "fla` comes before loading",
             "pip install flash-linear-attention flash-attn");
  rules.warn(c.tied, "tied", "tied embeddings work from flash-linear-attention 0.6.0 on",
             "use 0.6.0 or newer");
}

void lint_hypenet(std::vector<LintRow>& rows, const LintInput& in) {
  Rules rules("hypenet", rows);
  const auto others =
      layers_where(in, [](const BranchOptions& b) { return b.kind != BranchKind::lightning; });
  rules.refuse(
      !others.empty(), "branch_kind",
      others.empty()
          ? ""
          : fmt::format("the class flashmorph_hybrid has lightning branches, not {} (layers {})",
                        to_string(in.branches.at(static_cast<size_t>(others[0])).kind),
                        list_of(others)),
      "use --target transformers or fla for gdn, --target plan for others");
  rules.refuse(others.empty() && forms_differ(in), "branch_forms",
               "the branches of the linear layers differ in form",
               "align all of them with the same options");
  rules.refuse(in.plan.budget() == 0, "no_full_layer",
               "no layer is full: the cache of transformers cannot count tokens then",
               "keep at least one full layer");
  check_dtype(rules, in);
  rules.warn(true, "remote_code",
             "loads with trust_remote_code=True only (the code lies beside the weights); no server "
             "has this class",
             "align gdn branches on a Qwen3 teacher to be served");
  rules.warn(in.dtype == ExportDtype::f16, "float16", "float16 weights can overflow",
             "use --dtype bf16 or f32");
}

}  // namespace

std::string to_string(LintLevel level) {
  return level == LintLevel::ok ? "ok" : level == LintLevel::warn ? "warn" : "refuse";
}

std::vector<LintRow> lint(const LintInput& input) {
  std::vector<LintRow> rows;
  lint_transformers(rows, input);
  lint_vllm(rows, input);
  lint_sglang(rows, input);
  lint_llama_cpp(rows, input);
  lint_fla(rows, input);
  lint_hypenet(rows, input);
  rows.push_back({"plan", LintLevel::ok, "ok",
                  "hybrid_config.json holds the plan and where it came from, no weights", ""});
  return rows;
}

std::string consumer_of(ExportTarget target) {
  return target == ExportTarget::gguf ? "llama.cpp" : to_string(target);
}

LintLevel worst(const std::vector<LintRow>& rows, const std::string& consumer) {
  LintLevel level = LintLevel::ok;
  for (const LintRow& row : rows)
    if (row.consumer == consumer) level = std::max(level, row.level);
  return level;
}

void require_exportable(const std::vector<LintRow>& rows, ExportTarget target) {
  for (const LintRow& row : rows)
    if (row.consumer == consumer_of(target) && row.level == LintLevel::refuse)
      throw Error("export", ErrorCode::export_refused,
                  fmt::format("{}: {}", to_string(target), row.message), row.cure);
}

nlohmann::json to_json(const std::vector<LintRow>& rows) {
  nlohmann::json list = nlohmann::json::array();
  for (const LintRow& row : rows)
    list.push_back({{"target", row.consumer},
                    {"level", to_string(row.level)},
                    {"rule", row.rule},
                    {"message", row.message},
                    {"cure", row.cure}});
  return list;
}

std::vector<HybridLint> hybrid_lint(const std::vector<LintRow>& rows) {
  std::vector<HybridLint> list;
  for (const LintRow& row : rows)
    list.push_back(
        {row.consumer, to_string(row.level), row.rule, row.message, nlohmann::json::object()});
  return list;
}

}  // namespace flashmorph
