// SPDX-License-Identifier: Apache-2.0
// Exports read back: equal to what they came from, exactly where the format allows it.
#include <gtest/gtest.h>

#include "core/export/fla.h"
#include "core/export/hypenet.h"
#include "core/export/qwen35.h"
#include "core/export/safetensors_folder.h"
#include "core/export/tokenizer_files.h"
#include "core/jobs/allocation_meter.h"
#include "core/load/safetensors.h"
#include "core/run/error.h"
#include "core/run/file_io.h"
#include "tests/export/tiny_hybrid.h"

namespace flashmorph {
namespace {

using testing::export_to;
using testing::TemporaryFolder;
using testing::tiny_hybrid;

const TinyShape kQwen3{.layers = 4,
                       .hidden = 32,
                       .ffn = 48,
                       .heads = 4,
                       .kv_heads = 2,
                       .head_dim = 16,
                       .qk_norm = true};
BranchOptions gdn() { return BranchOptions::of(BranchKind::gdn); }
BranchOptions lightning() { return BranchOptions::of(BranchKind::lightning); }

double far(const HybridWeights& a, const HybridWeights& b) {
  const at::Tensor ids = tiny_ids(1, 70, a.config.vocab).squeeze(0);
  return (logits_of(runnable(a), a.plan, ids) - logits_of(runnable(b), b.plan, ids))
      .abs()
      .max()
      .item<double>();
}

std::map<std::string, at::Tensor> by_name(const TargetModel& model) {
  std::map<std::string, at::Tensor> all;
  for (const TargetTensor& one : model.tensors) all[one.name] = one.value.get();
  return all;
}

TEST(HybridWeights, RunAsTheModelTheyCameFrom) {
  const MorphModel model = tiny_morph_model(kQwen3, 3, BranchKind::gdn);
  const LayerPlan plan = LayerPlan::parse("4:1,3");
  const at::Tensor ids = tiny_ids(1, 40).squeeze(0);
  EXPECT_TRUE(at::equal(logits_of(model, plan, ids),
                        logits_of(runnable(hybrid_weights(model, plan)), plan, ids)));
  const HybridModel student(tiny_teacher(kQwen3, 3), model, plan, TrainPart::all);
  EXPECT_TRUE(at::equal(logits_of(model, plan, ids),
                        logits_of(runnable(hybrid_weights(student)), plan, ids)));
  // Layer by layer it is the same arithmetic.
  EXPECT_TRUE(at::equal(logits_of(model, plan, ids),
                        logits_by_layer(hybrid_weights(model, plan), {ids}).front()));
}

TEST(Qwen35, AllFullEqualsTheTeacherBitForBitInBfloat16) {
  for (const bool tied : {true, false}) {
    TinyShape shape = kQwen3;
    shape.tied = tied;
    const HybridWeights weights = tiny_hybrid(shape, LayerPlan::all_full(4), gdn());
    const TemporaryFolder folder;
    const ExportOutcome done =
        export_to(weights, ExportTarget::transformers, ExportDtype::bf16, folder.path() / "out");
    EXPECT_EQ(done.max_abs, 0.0) << "tied " << tied;
    EXPECT_TRUE(std::filesystem::exists(done.path / "README.md"));
    EXPECT_EQ(load_hybrid_config(done.path / "hybrid_config.json").plan, weights.plan);
  }
}

TEST(Qwen35, FullLayersCarryZeroGatesDoubledOutputAndShiftedNorms) {
  const HybridWeights weights = tiny_hybrid(kQwen3, LayerPlan::parse("4:1,3"), gdn());
  const auto out = by_name(qwen35_model(weights, ExportDtype::f32, /*rescale=*/false));
  const at::Tensor q = out.at("model.layers.1.self_attn.q_proj.weight").view({4, 32, 32});
  EXPECT_EQ(q.slice(1, 16).count_nonzero().item<int64_t>(), 0);
  EXPECT_TRUE(at::equal(q.slice(1, 0, 16).reshape({64, 32}),
                        weights.at("model.layers.1.self_attn.q_proj.weight")));
  EXPECT_TRUE(at::equal(out.at("model.layers.1.self_attn.o_proj.weight"),
                        2 * weights.at("model.layers.1.self_attn.o_proj.weight")));
  EXPECT_TRUE(at::equal(out.at("model.layers.1.self_attn.q_norm.weight"),
                        weights.at("model.layers.1.self_attn.q_norm.weight") - 1));
  const at::Tensor qkv = out.at("model.layers.0.linear_attn.in_proj_qkv.weight");
  EXPECT_EQ(qkv.sizes(), (at::IntArrayRef{3 * 64, 32}));
  EXPECT_TRUE(
      at::equal(qkv.slice(0, 64, 128), weights.at("model.layers.0.linear_attn.k_proj.weight")));
  EXPECT_EQ(out.at("model.layers.0.linear_attn.conv1d.weight").sizes(),
            (at::IntArrayRef{3 * 64, 1, 4}));
  EXPECT_FALSE(out.contains("model.layers.0.self_attn.q_proj.weight"));
}

TEST(Qwen35, ConfigNamesLayersRotationAndNoIntervalUnlessPeriodic) {
  const auto config =
      qwen35_model(tiny_hybrid(kQwen3, LayerPlan::parse("4:0,3"), gdn()), ExportDtype::bf16).config;
  EXPECT_EQ(config.at("layer_types"), (nlohmann::json{"full_attention", "linear_attention",
                                                      "linear_attention", "full_attention"}));
  EXPECT_EQ(config.at("partial_rotary_factor"), 1.0);
  EXPECT_EQ(config.at("rope_parameters").at("partial_rotary_factor"), 1.0);
  EXPECT_EQ(config.at("rope_theta"), config.at("rope_parameters").at("rope_theta"));
  EXPECT_FALSE(config.contains("full_attention_interval"));
  EXPECT_FALSE(config.contains("rope_scaling"));
  const auto periodic =
      qwen35_model(tiny_hybrid(kQwen3, LayerPlan::parse("4:1,3"), gdn()), ExportDtype::bf16).config;
  EXPECT_EQ(periodic.at("full_attention_interval"), 2);
}

// Norm weights from 0.01 to 8, of both signs, one of them 0: w - 1 in bfloat16 is off by percents,
// rescaled it is exact.
TEST(Qwen35, TheNormTrapIsCured) {
  TinyShape shape = kQwen3;
  shape.tied = false;
  HybridWeights weights = tiny_hybrid(shape, LayerPlan::all_full(4), gdn());
  at::Generator generator = at::detail::createCPUGenerator(5);
  for (auto& [name, value] : weights.tensors)
    if (name.ends_with("layernorm.weight") || name == "model.norm.weight") {
      at::Tensor w =
          (at::empty({32}, at::kFloat).uniform_(std::log(0.01), std::log(8.0), generator)).exp();
      w.slice(0, 0, 8).neg_();
      w[9] = 0;
      value = w.to(at::kBFloat16).to(at::kFloat);
    }
  const TemporaryFolder folder;
  const ExportOutcome done =
      export_to(weights, ExportTarget::transformers, ExportDtype::bf16, folder.path() / "out");
  EXPECT_EQ(done.max_abs, 0.0);
  EXPECT_TRUE(done.description.target.norm_rescaled);
  // The trap is real: without the powers of two the same cast moves the logits.
  LazyTensors cast;
  const TargetModel naive = qwen35_model(weights, ExportDtype::bf16, /*rescale=*/false);
  for (const TargetTensor& one : naive.tensors)
    cast[one.name] =
        one.keep_float32 ? one.value.get() : one.value.get().to(at::kBFloat16).to(at::kFloat);
  EXPECT_GT(far(weights, qwen35_weights(naive.config, cast, "naive")), 1e-3);
}

TEST(Qwen35, ReportsWhatCannotBeRescaled) {
  HybridWeights weights = tiny_hybrid(kQwen3, LayerPlan::parse("4:3"), gdn());
  EXPECT_LT(qwen35_model(weights, ExportDtype::bf16).norm_max_rel_error, 0.01);
  weights.tensors["model.norm.weight"] =
      at::full({32}, 0.0123F);  // tied: nothing follows that could take the power back
  const TargetModel model = qwen35_model(weights, ExportDtype::bf16);
  const double stored =
      (at::full({}, 0.0123F) - 1).to(at::kBFloat16).to(at::kFloat).item<double>() + 1;
  EXPECT_NEAR(model.norm_max_rel_error, std::fabs(stored - 0.0123) / 0.0123, 1e-4);
  EXPECT_GT(model.norm_max_rel_error, 0.01);
  EXPECT_EQ(model.decay_max_rel_error, 0.0);  // A_log was rounded to bfloat16 beforehand
  const HybridWeights wide = tiny_hybrid(kQwen3, LayerPlan::parse("4:3"), gdn(), at::kFloat);
  EXPECT_GT(qwen35_model(wide, ExportDtype::bf16).decay_max_rel_error, 1e-4);
}

struct Case {
  const char* name;
  ExportTarget target;
  TinyShape shape;
  BranchOptions options;
};
std::vector<Case> round_trips() {
  TinyShape llama = kQwen3, qwen2 = kQwen3, untied = kQwen3;
  llama.qk_norm = qwen2.qk_norm = false;
  llama.head_dim = qwen2.head_dim = 8;
  qwen2.qkv_bias = true;
  untied.tied = false;
  BranchOptions no_conv = gdn(), negative = gdn(), bare = lightning(), conv = lightning(),
                scaled = lightning();
  no_conv.conv = 0;
  negative.double_beta = true;
  bare.rope = bare.qk_norm = false;
  conv.conv = 4;
  conv.silu = true;
  scaled.layer_scaled = true;
  return {{"qwen35", ExportTarget::transformers, kQwen3, gdn()},
          {"qwen35 untied", ExportTarget::transformers, untied, gdn()},
          {"qwen35 without conv", ExportTarget::transformers, kQwen3, no_conv},
          {"gguf", ExportTarget::gguf, kQwen3, gdn()},
          {"gguf untied", ExportTarget::gguf, untied, no_conv},
          {"fla llama", ExportTarget::fla, llama, gdn()},
          {"fla qwen2, beta to 2", ExportTarget::fla, qwen2, negative},
          {"fla without conv", ExportTarget::fla, llama, no_conv},
          {"lightning qwen3", ExportTarget::hypenet, kQwen3, lightning()},
          {"lightning llama", ExportTarget::hypenet, llama, lightning()},
          {"lightning qwen2", ExportTarget::hypenet, qwen2, lightning()},
          {"lightning bare", ExportTarget::hypenet, qwen2, bare},
          {"lightning with conv", ExportTarget::hypenet, untied, conv},
          {"lightning scaled by layer", ExportTarget::hypenet, kQwen3, scaled}};
}

TEST(EveryTarget, ComesBackEqual) {
  for (const Case& one : round_trips()) {
    SCOPED_TRACE(one.name);
    const HybridWeights weights =
        tiny_hybrid(one.shape, LayerPlan::parse("4:0,3"), one.options, at::kFloat);
    const TemporaryFolder folder;
    const auto out = folder.path() / "out";
    const ExportOutcome done = export_to(weights, one.target, ExportDtype::f32, out);
    // 2e-5 measured at most: rescaling by powers of two is exact, w - 1 + 1 in float32 is not.
    EXPECT_LT(done.max_abs, 1e-4);
    EXPECT_TRUE(std::filesystem::exists(done.logits));
    EXPECT_FALSE(std::filesystem::exists(out.string() + ".tmp"));
    const SafetensorsFile logits(done.logits);
    EXPECT_EQ(logits.tensor("logits_2").sizes(),
              (at::IntArrayRef{logits.tensor("input_ids_2").numel(), 64}));
  }
}

TEST(EveryTarget, NotADifferenceByAccident) {
  // The comparison of every export sees a wrong tensor.
  HybridWeights weights = tiny_hybrid(kQwen3, LayerPlan::parse("4:0,3"), gdn());
  HybridWeights other = weights;
  other.tensors["model.layers.1.linear_attn.A_log"] =
      weights.at("model.layers.1.linear_attn.A_log") + 0.1;
  EXPECT_GT(far(weights, other), 1e-3);
}

TEST(Hypenet, KeepsHypeNetsNames) {
  const HybridWeights weights = tiny_hybrid(kQwen3, LayerPlan::parse("4:0,3"), lightning());
  const TargetModel model = hypenet_model(weights, ExportDtype::bf16);
  EXPECT_EQ(model.config.at("mixer_types"),
            (nlohmann::json{"attn", "lightning-attn", "lightning-attn", "attn"}));
  EXPECT_EQ(model.config.at("lightning_scale"), "1/sqrt(d)");
  EXPECT_EQ(model.config.at("lightning_slopes").size(), 4u);
  EXPECT_EQ(model.config.at("lightning_slopes")[0], 0.25);
  const auto out = by_name(model);
  EXPECT_EQ(out.at("model.layers.1.self_attn.z_proj.weight").sizes(), (at::IntArrayRef{64, 32}));
  EXPECT_EQ(out.at("model.layers.1.self_attn.o_norm.weight").sizes(), (at::IntArrayRef{64}));
  ASSERT_EQ(modeling_files().size(), 2u);
  for (const auto& [name, text] : modeling_files())
    EXPECT_EQ(text,
              read_whole_file(std::filesystem::path(RESOURCES_DIR) / "modeling" / name, 1 << 20))
        << name;
}

TEST(Fla, NamesShapesAndFields) {
  TinyShape llama = kQwen3;
  llama.qk_norm = false;
  llama.head_dim = 8;
  llama.tied = false;
  const TargetModel model =
      fla_model(tiny_hybrid(llama, LayerPlan::parse("4:2"), gdn()), ExportDtype::bf16);
  EXPECT_EQ(model.config.at("attn").at("layers"), nlohmann::json{2});
  EXPECT_EQ(model.config.at("attn").at("num_kv_heads"), 2);
  EXPECT_EQ(model.config.at("hidden_act"), "swish");
  EXPECT_TRUE(model.config.contains("norm_eps"));
  EXPECT_FALSE(model.config.contains("rms_norm_eps"));
  const auto out = by_name(model);
  const std::map<std::string, std::vector<int64_t>> wanted{
      {"model.embeddings.weight", {64, 32}},
      {"lm_head.weight", {64, 32}},
      {"model.layers.0.attn_norm.weight", {32}},
      {"model.layers.0.mlp_norm.weight", {32}},
      {"model.layers.0.attn.g_proj.weight", {32, 32}},
      {"model.layers.0.attn.a_proj.weight", {4, 32}},
      {"model.layers.0.attn.q_conv1d.weight", {32, 1, 4}},
      {"model.layers.0.attn.o_norm.weight", {8}},
      {"model.layers.0.attn.A_log", {4}},
      {"model.layers.0.attn.dt_bias", {4}},
      {"model.layers.2.attn.k_proj.weight", {16, 32}},
      {"model.layers.2.attn.o_proj.weight", {32, 32}}};
  for (const auto& [name, shape] : wanted) {
    ASSERT_TRUE(out.contains(name)) << name;
    EXPECT_EQ(out.at(name).sizes(), at::IntArrayRef(shape)) << name;
  }
  EXPECT_EQ(out.size(), 3 + 4 * 5 + 3 * 13 + 4u);
}

TEST(Shards, AreBoundedAndIndexed) {
  const HybridWeights weights = tiny_hybrid(kQwen3, LayerPlan::parse("4:0,3"), lightning());
  const TemporaryFolder folder;
  const auto one = folder.path() / "one", many = folder.path() / "many";
  export_to(weights, ExportTarget::hypenet, ExportDtype::bf16, one);
  export_to(weights, ExportTarget::hypenet, ExportDtype::bf16, many, 20000);
  const auto whole = read_weights(one), pieces = read_weights(many);
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(many))
    if (entry.path().extension() == ".safetensors") {
      ++files;
      EXPECT_LT(entry.file_size(), 20000u + 8192u);  // and the header
    }
  EXPECT_GT(files, 2);
  ASSERT_EQ(whole.size(), pieces.size());
  for (const auto& [name, value] : whole)
    EXPECT_TRUE(at::equal(value.get(), pieces.at(name).get())) << name;
  auto index =
      nlohmann::json::parse(read_whole_file(many / "model.safetensors.index.json", 1 << 20));
  EXPECT_EQ(index.at("weight_map").size(), whole.size());
  index["weight_map"]["model.norm.weight"] = "../one/model.safetensors";
  write_file_atomic(many / "model.safetensors.index.json", index.dump());
  EXPECT_THROW(read_weights(many), Error);
}

// What an export holds at a time: a layer or the embedding, not the model. Every tensor is made
// anew at each use here, as those of files are.
TEST(EveryTarget, HoldsALayerAtATime) {
  TinyShape shape = kQwen3;
  shape.layers = 24;
  shape.hidden = 128;
  shape.ffn = 384;
  HybridWeights weights = tiny_hybrid(shape, LayerPlan::parse("24:1,3,20"), gdn());
  int64_t bytes = 0, largest = 0;
  for (auto& [name, value] : weights.tensors) {
    const int64_t here = 4 * value.numel();
    bytes += here;
    largest = std::max(largest, here);
    const std::vector<char> stored(static_cast<const char*>(value.get().const_data_ptr()),
                                   static_cast<const char*>(value.get().const_data_ptr()) + here);
    value = LazyTensor(value.shape(), [stored, shape = value.shape()] {
      at::Tensor out = at::empty(shape, at::kFloat);
      std::memcpy(out.mutable_data_ptr<float>(), stored.data(), stored.size());
      return out;
    });
  }
  const TemporaryFolder folder;
  for (const ExportTarget target : {ExportTarget::transformers, ExportTarget::gguf}) {
    const AllocationMeter meter;
    export_to(weights, target, ExportDtype::f32, folder.path() / to_string(target));
    const int64_t peak = meter.peak_bytes();
    std::printf("%s: %.1f MB held at most, the weights have %.1f MB, the largest tensor %.2f MB\n",
                to_string(target).c_str(), static_cast<double>(peak) * 1e-6,
                static_cast<double>(bytes) * 1e-6, static_cast<double>(largest) * 1e-6);
    EXPECT_LT(peak, bytes / 2) << to_string(target);
  }
}

TEST(TokenizerFiles, BytesOfTheTeacherAndAClassThatKeepsThem) {
  const std::filesystem::path teacher = RESOURCES_DIR "/demo/teacher";
  const TemporaryFolder folder;
  ModelConfig config;
  config.max_position = 2048;
  write_tokenizer_files(teacher, config, folder.path());
  EXPECT_EQ(read_whole_file(folder.path() / "tokenizer.json", 1 << 24),
            read_whole_file(teacher / "tokenizer.json", 1 << 24));
  EXPECT_EQ(nlohmann::json::parse(read_whole_file(folder.path() / "tokenizer_config.json", 1 << 20))
                .at("tokenizer_class"),
            "PreTrainedTokenizerFast");
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "generation_config.json"));
  const Tokenizer tokenizer = Tokenizer::load(teacher);
  EXPECT_NO_THROW(check_same_ids(tokenizer, folder.path()));
  std::string text = read_whole_file(teacher / "tokenizer.json", 1 << 24);
  const size_t at = text.find("<|im_start|>");
  ASSERT_NE(at, std::string::npos);
  text.replace(at, 12, "<|im_other|>");
  write_file_atomic(folder.path() / "tokenizer.json", text);
  EXPECT_THROW(check_same_ids(tokenizer, folder.path()), Error);
}

TEST(TokenizerFiles, AGgufTeacherGivesAnEqualTokenizerJson) {
  for (const char* name : {"llama_tied", "qwen3_tied"}) {
    const std::filesystem::path teacher =
        std::filesystem::path(TEST_DATA_DIR) / "golden/tiny/gguf" / (std::string(name) + ".gguf");
    const TemporaryFolder folder;
    ModelConfig config;
    config.max_position = 64;
    write_tokenizer_files(teacher, config, folder.path());
    EXPECT_NO_THROW(check_same_ids(Tokenizer::load(teacher), folder.path())) << name;
  }
}

}  // namespace
}  // namespace flashmorph
