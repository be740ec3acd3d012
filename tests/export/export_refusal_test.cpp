// SPDX-License-Identifier: Apache-2.0
// What cannot be exported is refused in a sentence, and nothing is left behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/export/qwen35.h"
#include "core/run/error.h"
#include "core/run/file_io.h"
#include "tests/export/tiny_hybrid.h"

namespace flashmorph {
namespace {

using testing::export_to;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::tiny_hybrid;

const TinyShape kQwen3{.layers = 4,
                       .hidden = 32,
                       .ffn = 48,
                       .heads = 4,
                       .kv_heads = 2,
                       .head_dim = 16,
                       .qk_norm = true};

// Exports; returns the error. Fails when there is none, or when anything lies in the folder
// afterwards.
Error refused(const HybridWeights& weights, ExportTarget target, ExportDtype dtype,
              const StopFlag& stop = {}) {
  const TemporaryFolder folder;
  try {
    export_hybrid(weights, {}, {}, target, dtype, folder.path() / "out", kDefaultShardBytes,
                  nullptr, stop, [](const Progress&) {});
  } catch (const Error& error) {
    EXPECT_TRUE(std::filesystem::is_empty(folder.path())) << error.message();
    return error;
  }
  ADD_FAILURE() << "exported";
  return {"", ErrorCode::internal, ""};
}

HybridWeights gdn(
    const char* plan = "4:0,3", void (*change)(BranchOptions&) = [](BranchOptions&) {}) {
  BranchOptions options = BranchOptions::of(BranchKind::gdn);
  change(options);
  return tiny_hybrid(kQwen3, LayerPlan::parse(plan), options);
}

TEST(ExportRefusal, HostileBranchesAreNamed) {
  const auto says = [](const HybridWeights& weights, ExportTarget target, const char* words) {
    const Error error = refused(weights, target, ExportDtype::bf16);
    EXPECT_EQ(error.code(), ErrorCode::export_refused);
    EXPECT_THAT(error.message(), HasSubstr(words));
    EXPECT_FALSE(error.hint().empty());
  };
  says(gdn("4:0,3", [](BranchOptions& o) { o.double_beta = true; }), ExportTarget::transformers,
       "beta in (0, 2)");
  says(gdn("4:0,3", [](BranchOptions& o) { o.silu = false; }), ExportTarget::transformers, "SiLU");
  says(gdn("4:0,3", [](BranchOptions& o) { o.rope = true; }), ExportTarget::gguf, "RoPE");
  says(gdn("4:0,3", [](BranchOptions& o) { o.qk_norm = true; }), ExportTarget::transformers,
       "q/k norm");
  says(gdn("4:"), ExportTarget::transformers, "no layer is full");
  says(gdn(), ExportTarget::hypenet, "lightning");
  says(gdn(), ExportTarget::fla, "q/k norm");
  for (const BranchKind kind : {BranchKind::gla, BranchKind::simple, BranchKind::mamba2,
                                BranchKind::kda, BranchKind::window, BranchKind::plain})
    says(tiny_hybrid(kQwen3, LayerPlan::parse("4:0,3"), BranchOptions::of(kind)),
         ExportTarget::hypenet, to_string(kind).c_str());
  TinyShape llama = kQwen3;
  llama.qk_norm = false;
  says(tiny_hybrid(llama, LayerPlan::parse("4:0,3"), BranchOptions::of(BranchKind::gdn)),
       ExportTarget::transformers, "family llama");
  says(tiny_hybrid(llama, LayerPlan::parse("4:0,3"), BranchOptions::of(BranchKind::gdn)),
       ExportTarget::fla, "head size 8");
}

TEST(ExportRefusal, TargetsCheckForThemselvesToo) {
  EXPECT_THROW(
      qwen35_model(gdn("4:0,3", [](BranchOptions& o) { o.double_beta = true; }), ExportDtype::f32),
      Error);
  HybridWeights mixed = gdn();
  mixed.branches[2].conv = 3;
  EXPECT_THROW(qwen35_model(mixed, ExportDtype::f32), Error);
}

TEST(ExportRefusal, ValuesThatAreNotFiniteAreNamed) {
  HybridWeights weights = gdn();
  const at::Tensor up = weights.at("model.layers.2.mlp.up_proj.weight").clone();
  weights.tensors["model.layers.2.mlp.up_proj.weight"] = up;
  up[3][4] = std::numeric_limits<float>::quiet_NaN();
  for (const ExportTarget target : {ExportTarget::transformers, ExportTarget::gguf})
    EXPECT_THAT(refused(weights, target, ExportDtype::bf16).message(),
                HasSubstr(target == ExportTarget::gguf ? "ffn_up" : "up_proj"));
  up[3][4] = 1e6;  // more than float16 holds
  const Error half = refused(weights, ExportTarget::transformers, ExportDtype::f16);
  EXPECT_THAT(half.message(), HasSubstr("up_proj"));
  EXPECT_THAT(half.hint(), HasSubstr("bf16"));
}

TEST(ExportRefusal, MissingAndMisshapenTensorsAreNamed) {
  HybridWeights missing = gdn(), misshapen = gdn();
  missing.tensors.erase("model.layers.1.linear_attn.A_log");
  EXPECT_THAT(refused(missing, ExportTarget::transformers, ExportDtype::bf16).message(),
              HasSubstr("model.layers.1.linear_attn.A_log"));
  misshapen.tensors["model.norm.weight"] = at::ones({31});
  EXPECT_THAT(refused(misshapen, ExportTarget::transformers, ExportDtype::bf16).message(),
              HasSubstr("model.norm.weight"));
}

TEST(ExportRefusal, AStopLeavesNothing) {
  const StopFlag stop;
  stop.set();
  EXPECT_EQ(refused(gdn(), ExportTarget::transformers, ExportDtype::bf16, stop).code(),
            ErrorCode::stopped);
}

TEST(ExportRefusal, WhatIsThereStays) {
  const TemporaryFolder folder;
  const auto out = folder.path() / "out";
  export_to(gdn(), ExportTarget::transformers, ExportDtype::bf16, out);
  write_file_atomic(out / "README.md", "mine");
  EXPECT_THROW(export_to(gdn(), ExportTarget::transformers, ExportDtype::bf16, out), Error);
  EXPECT_EQ(read_whole_file(out / "README.md", 100), "mine");
}

TEST(ExportRequest, UnknownNamesAndWordsAreRefused) {
  EXPECT_EQ(
      export_request({{"run", "a"}, {"target", "fla"}, {"max_shard_bytes", 1 << 21}}, "params")
          .max_shard_bytes,
      1 << 21);
  EXPECT_THROW(export_request({{"runn", "a"}}, "params"), Error);
  EXPECT_THROW(export_request({{"target", "onnx"}}, "params"), Error);
  EXPECT_THROW(export_request({{"dtype", "int4"}}, "params"), Error);
  EXPECT_THROW(export_request({{"max_shard_bytes", 5}}, "params"), Error);
}

TEST(ExportSubject, FindsWeightsAndPlanOrSaysWhatIsMissing) {
  const std::string teacher = RESOURCES_DIR "/demo/teacher",
                    branches = RESOURCES_DIR "/demo/branches/lightning.safetensors";
  ExportRequest request;
  EXPECT_THROW(export_subject(request), Error);  // no model
  request.model = teacher;
  request.aligned = branches;
  EXPECT_THROW(export_subject(request), Error);  // no plan
  request.plan = "10:3,6,8";
  const ExportSubject subject = export_subject(request);
  EXPECT_EQ(subject.branches.size(), 10u);
  EXPECT_EQ(target_of(request, lint_subject(subject, ExportDtype::bf16)), ExportTarget::hypenet);
  request.plan = "9:3";
  EXPECT_THROW(export_subject(request), Error);  // another depth
}

}  // namespace
}  // namespace flashmorph
