// SPDX-License-Identifier: Apache-2.0
// Every rule of the linter fires once and stays silent once.
#include <gtest/gtest.h>

#include "core/export/linter.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

LintInput clean(const char* plan = "8:3,7", BranchKind kind = BranchKind::gdn,
                const char* family = "qwen3") {
  LintInput in;
  in.config.family = family;
  in.config.layers = 8;
  in.config.heads = 4;
  in.config.kv_heads = 2;
  in.config.head_dim = 8;
  in.config.hidden = 32;
  in.config.qk_norm = in.config.family == "qwen3";
  in.plan = LayerPlan::parse(plan);
  in.branches.assign(8, BranchOptions::of(kind));
  in.tokenizer_class = "PreTrainedTokenizerFast";
  in.norm_max_rel_error = in.decay_max_rel_error = 0.001;
  return in;
}

bool fires(const LintInput& in, const std::string& consumer, const std::string& rule,
           LintLevel level) {
  for (const LintRow& row : lint(in))
    if (row.consumer == consumer && row.rule == rule) {
      EXPECT_EQ(row.level, level) << consumer << " " << rule;
      EXPECT_FALSE(row.message.empty());
      return true;
    }
  return false;
}

struct RuleCase {
  const char* consumer;
  const char* rule;
  LintLevel level;
  LintInput silent;
  void (*change)(LintInput&);
};

std::vector<RuleCase> rules() {
  constexpr auto kRefuse = LintLevel::refuse, kWarn = LintLevel::warn;
  const LintInput qwen3 = clean(), llama = clean("8:3,7", BranchKind::gdn, "llama"),
                  light = clean("8:1,2", BranchKind::lightning);
  std::vector<RuleCase> cases;
  for (const char* who : {"transformers", "vllm", "sglang", "llama.cpp"}) {
    cases.push_back(
        {who, "teacher_family", kRefuse, qwen3, [](LintInput& in) { in.config.family = "llama"; }});
    cases.push_back({who, "no_full_layer", kRefuse, qwen3,
                     [](LintInput& in) { in.plan = LayerPlan::parse("8:"); }});
    cases.push_back({who, "rope_factors", kRefuse, qwen3, [](LintInput& in) {
                       in.config.rope.freq_factors = {1, 2, 3, 4};
                     }});
    cases.push_back(
        {who, "gdn_silu", kRefuse, qwen3, [](LintInput& in) { in.branches[1].silu = false; }});
    cases.push_back(
        {who, "gdn_rope", kRefuse, qwen3, [](LintInput& in) { in.branches[1].rope = true; }});
    cases.push_back(
        {who, "gdn_qk_norm", kRefuse, qwen3, [](LintInput& in) { in.branches[1].qk_norm = true; }});
    cases.push_back({who, "gdn_beta", kRefuse, qwen3,
                     [](LintInput& in) { in.branches[1].double_beta = true; }});
    cases.push_back(
        {who, "branch_forms", kRefuse, qwen3, [](LintInput& in) { in.branches[1].conv = 3; }});
  }
  for (const char* who : {"vllm", "sglang"})
    cases.push_back({who, "no_class", kRefuse, qwen3, [](LintInput& in) {
                       in.branches[1] = BranchOptions::of(BranchKind::lightning);
                     }});
  for (const char* who : {"transformers", "llama.cpp", "fla"})
    cases.push_back({who, "branch_kind", kRefuse, std::string(who) == "fla" ? llama : qwen3,
                     [](LintInput& in) { in.branches[2] = BranchOptions::of(BranchKind::kda); }});
  cases.push_back({"transformers", "norm_rounding", kWarn, qwen3,
                   [](LintInput& in) { in.norm_max_rel_error = 0.02; }});
  cases.push_back({"transformers", "decay_rounding", kWarn, qwen3,
                   [](LintInput& in) { in.decay_max_rel_error = 0.02; }});
  cases.push_back({"transformers", "float16", kWarn, qwen3,
                   [](LintInput& in) { in.dtype = ExportDtype::f16; }});
  cases.push_back({"transformers", "tokenizer_class", kWarn, qwen3,
                   [](LintInput& in) { in.tokenizer_class = "GPT2Tokenizer"; }});
  cases.push_back({"vllm", "release", kWarn, light, [](LintInput& in) { in = clean(); }});
  cases.push_back({"sglang", "sglang_interval", kRefuse, qwen3,
                   [](LintInput& in) { in.plan = LayerPlan::parse("8:2,7"); }});
  cases.push_back({"llama.cpp", "attention_bias", kRefuse, qwen3,
                   [](LintInput& in) { in.config.qkv_bias = true; }});
  cases.push_back({"llama.cpp", "rope_scaling", kRefuse, qwen3,
                   [](LintInput& in) { in.config.rope.type = "dynamic"; }});
  cases.push_back({"llama.cpp", "recurrent_layers", kWarn, qwen3,
                   [](LintInput& in) { in.plan = LayerPlan::parse("8:2,7"); }});
  cases.push_back(
      {"fla", "qk_norm", kRefuse, llama, [](LintInput& in) { in.config.qk_norm = true; }});
  cases.push_back(
      {"fla", "head_dim", kRefuse, llama, [](LintInput& in) { in.config.head_dim = 16; }});
  cases.push_back({"fla", "rope_scaling", kRefuse, llama,
                   [](LintInput& in) { in.config.rope.type = "llama3"; }});
  cases.push_back(
      {"fla", "o_bias", kRefuse, llama, [](LintInput& in) { in.config.o_bias = true; }});
  cases.push_back(
      {"fla", "mlp_bias", kRefuse, llama, [](LintInput& in) { in.config.mlp_bias = true; }});
  cases.push_back(
      {"fla", "gdn_silu", kRefuse, llama, [](LintInput& in) { in.branches[1].silu = false; }});
  cases.push_back({"fla", "tied", kWarn, llama, [](LintInput& in) { in.config.tied = true; }});
  cases.push_back({"hypenet", "branch_kind", kRefuse, light,
                   [](LintInput& in) { in.branches[0] = BranchOptions::of(BranchKind::gdn); }});
  cases.push_back({"hypenet", "branch_forms", kRefuse, light,
                   [](LintInput& in) { in.branches[0].rope = false; }});
  cases.push_back({"hypenet", "no_full_layer", kRefuse, light,
                   [](LintInput& in) { in.plan = LayerPlan::parse("8:"); }});
  cases.push_back(
      {"hypenet", "float16", kWarn, light, [](LintInput& in) { in.dtype = ExportDtype::f16; }});
  for (const char* who : {"transformers", "fla", "hypenet"})
    cases.push_back(
        {who, "dtype", kRefuse, qwen3, [](LintInput& in) { in.dtype = ExportDtype::q8_0; }});
  return cases;
}

TEST(Linter, EachRuleFiresOnceAndIsSilentOnce) {
  for (const RuleCase& one : rules()) {
    SCOPED_TRACE(std::string(one.consumer) + " " + one.rule);
    EXPECT_FALSE(fires(one.silent, one.consumer, one.rule, one.level));
    LintInput broken = one.silent;
    one.change(broken);
    EXPECT_TRUE(fires(broken, one.consumer, one.rule, one.level));
  }
}

TEST(Linter, FullLayersAreNotBlamedForTheirBranches) {
  LintInput in = clean();
  in.branches[3] = BranchOptions::of(BranchKind::lightning);  // layer 3 is full
  EXPECT_EQ(worst(lint(in), "transformers"), LintLevel::ok);
}

TEST(Linter, BetaToTwoFitsFla) {
  LintInput in = clean("8:3,7", BranchKind::gdn, "llama");
  for (BranchOptions& one : in.branches) one.double_beta = true;
  EXPECT_NE(worst(lint(in), "fla"), LintLevel::refuse);
}

TEST(Linter, NamesLayersAndACure) {
  for (const LintRow& row : lint(clean("8:2,5")))
    if (row.rule == "sglang_interval") {
      EXPECT_NE(row.message.find("would read 3, 7 as full instead of 2, 5"), std::string::npos)
          << row.message;
      EXPECT_NE(row.cure.find("8:3,7"), std::string::npos) << row.cure;
      return;
    }
  FAIL() << "no row about the interval";
}

TEST(Linter, EveryConsumerHasAVerdictAndTheTargetObeysIt) {
  const auto rows = lint(clean());
  for (const char* who :
       {"transformers", "vllm", "sglang", "llama.cpp", "fla", "hypenet", "plan"}) {
    bool seen = false;
    for (const LintRow& row : rows) seen = seen || row.consumer == who;
    EXPECT_TRUE(seen) << who;
  }
  EXPECT_NO_THROW(require_exportable(rows, ExportTarget::transformers));
  EXPECT_NO_THROW(require_exportable(rows, ExportTarget::plan));
  EXPECT_THROW(require_exportable(rows, ExportTarget::fla), Error);
  EXPECT_THROW(require_exportable(rows, ExportTarget::hypenet), Error);
}

}  // namespace
}  // namespace flashmorph
