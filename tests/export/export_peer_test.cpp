// SPDX-License-Identifier: Apache-2.0
// Exports opened by other people's software: transformers, llama.cpp (xllamacpp), tokenizers, and a
// float64 recurrence for fla.
#include <cstdlib>

#include <gtest/gtest.h>

#include "core/export/tokenizer_files.h"
#include "core/jobs/session.h"
#include "core/load/corpus.h"
#include "core/load/safetensors.h"
#include "core/run/file_io.h"
#include "tests/export/tiny_hybrid.h"

namespace flashmorph {
namespace {

namespace fs = std::filesystem;
using testing::TemporaryFolder;

const fs::path kTests = EXPORT_TESTS_DIR, kTiny = TEST_DATA_DIR "/golden/tiny",
               kDemo = RESOURCES_DIR "/demo/teacher";

fs::path named_or(const char* variable, const char* fallback) {
  if (const char* named = std::getenv(variable)) return named;
  const char* home = std::getenv("HOME");
  return fs::path(home == nullptr ? "." : home) / ".cache/flashmorph" / fallback;
}
fs::path peer_python() { return named_or("FLASHMORPH_PEER_PYTHON", "peer/bin/python"); }
fs::path llama_python() { return named_or("FLASHMORPH_LLAMA_PYTHON", "xllamacpp/bin/python"); }

int run(const std::string& line) { return std::system((line + " 2>/dev/null").c_str()); }

// Branches of a kind for a model on disk; of the demo the aligned ones if there are any, else every
// parameter moved at random.
HybridWeights hybrid_of(const fs::path& model, const char* plan, const BranchOptions& options) {
  Session session(model, at::kCPU, at::kFloat);
  const fs::path aligned =
      fs::path(RESOURCES_DIR) / "demo/branches" / (to_string(options.kind) + ".safetensors");
  if (model == kDemo && fs::exists(aligned))
    return hybrid_weights(session.load_branches(aligned), LayerPlan::parse(plan));
  MorphModel& made = session.make_branches({options}, 5);
  at::Generator generator = at::detail::createCPUGenerator(6);
  for (int l = 0; l < made.layers(); ++l)
    for (const auto& [name, value] : made.branch(l).parameters()) {
      const double width = value.dim() > 1 && !name.ends_with("conv1d.weight")
                               ? static_cast<double>(value.size(1))
                               : 100.0;
      made.branch(l).load(
          name, value + 0.3 * at::empty(value.sizes(), at::kFloat).normal_(0.0, 1.0, generator) /
                            std::sqrt(width));
    }
  return hybrid_weights(made, LayerPlan::parse(plan));
}

// The teachers of the tiny folders, which mostly have no tokenizer.
HybridWeights tiny_of(const char* name, const char* plan, const BranchOptions& options) {
  auto teacher = std::make_shared<const Teacher>(load_checkpoint(kTiny / name, at::kFloat));
  MorphModel made(teacher, {options}, 5);
  at::Generator generator = at::detail::createCPUGenerator(6);
  for (int l = 0; l < made.layers(); ++l)
    for (const auto& [parameter, value] : made.branch(l).parameters())
      made.branch(l).load(
          parameter,
          value + 0.05 * at::empty(value.sizes(), at::kFloat).normal_(0.0, 1.0, generator));
  return hybrid_weights(made, LayerPlan::parse(plan));
}

class Exports {
 public:
  ExportOutcome add(const std::string& name, const HybridWeights& weights, ExportTarget target,
                    ExportDtype dtype, const fs::path& tokenizer = {}, const fs::path& teacher = {},
                    const fs::path& greedy = {}) {
    const auto done =
        testing::export_to(weights, target, dtype, folder_.path() / name, 1 << 22, tokenizer);
    list_.push_back(
        {{"folder", done.path.string()},
         {"logits", done.logits.string()},
         {"remote_code", target == ExportTarget::hypenet},
         {"teacher", teacher.empty() ? nlohmann::json() : nlohmann::json(teacher.string())},
         {"greedy", greedy.empty() ? nlohmann::json() : nlohmann::json(greedy.string())}});
    return done;
  }
  int check() const {
    write_file_atomic(folder_.path() / "list.json", list_.dump());
    return run(peer_python().string() + " " + (kTests / "check_exports.py").string() + " " +
               (folder_.path() / "list.json").string());
  }
  const fs::path& path() const { return folder_.path(); }

 private:
  TemporaryFolder folder_;
  nlohmann::json list_ = nlohmann::json::array();
};

const BranchOptions kLightning = BranchOptions::of(BranchKind::lightning),
                    kGdn = BranchOptions::of(BranchKind::gdn);

TEST(TransformersOpens, OurOwnClassOnEveryFamily) {
  if (!fs::exists(peer_python())) GTEST_SKIP() << "all of it: no peer environment";
  Exports exports;
  exports.add("demo", hybrid_of(kDemo, "10:3,6,8", kLightning), ExportTarget::hypenet,
              ExportDtype::bf16, kDemo);
  exports.add("demo_full", hybrid_of(kDemo, "10:0-9", kLightning), ExportTarget::hypenet,
              ExportDtype::bf16, kDemo, kDemo);
  exports.add("qwen3_untied_bias", tiny_of("qwen3_untied_bias", "3:1", kLightning),
              ExportTarget::hypenet, ExportDtype::f32);
  exports.add("llama_tied", tiny_of("llama_tied", "2:1", kLightning), ExportTarget::hypenet,
              ExportDtype::f32, kTiny / "llama_tied");
  exports.add("llama_untied_bias", tiny_of("llama_untied_bias", "2:0", kLightning),
              ExportTarget::hypenet, ExportDtype::f32);
  exports.add("qwen2_tied", tiny_of("qwen2_tied", "2:1", kLightning), ExportTarget::hypenet,
              ExportDtype::f32);
  for (const char* scaled : {"llama_llama3", "llama_yarn", "llama_dynamic", "llama_linear"}) {
    const ModelConfig config = inspect_checkpoint(kTiny / scaled);
    exports.add(scaled, tiny_of(scaled, config.layers == 1 ? "1:0" : "2:1", kLightning),
                ExportTarget::hypenet, ExportDtype::f32);
  }
  BranchOptions bare = kLightning, conv = kLightning, by_layer = kLightning;
  bare.rope = bare.qk_norm = false;
  conv.conv = 4;
  conv.silu = true;
  by_layer.layer_scaled = true;
  exports.add("without_rope", tiny_of("qwen3_tied", "2:1", bare), ExportTarget::hypenet,
              ExportDtype::f32);
  exports.add("with_conv", tiny_of("qwen3_tied", "2:1", conv), ExportTarget::hypenet,
              ExportDtype::f32);
  exports.add("by_layer", tiny_of("qwen3_tied", "2:1", by_layer), ExportTarget::hypenet,
              ExportDtype::f32);
  EXPECT_EQ(exports.check(), 0);
}

TEST(TransformersOpens, TheStockQwen35Class) {
  if (!fs::exists(peer_python())) GTEST_SKIP() << "all of it: no peer environment";
  Exports exports;
  const auto demo = exports.add("demo", hybrid_of(kDemo, "10:3,6,8", kGdn),
                                ExportTarget::transformers, ExportDtype::bf16, kDemo);
  exports.add("demo_f32", hybrid_of(kDemo, "10:1,4,9", kGdn), ExportTarget::transformers,
              ExportDtype::f32, kDemo);
  exports.add("demo_full", hybrid_of(kDemo, "10:0-9", kGdn), ExportTarget::transformers,
              ExportDtype::bf16, kDemo, kDemo);
  BranchOptions no_conv = kGdn;
  no_conv.conv = 0;
  exports.add("untied_bias", tiny_of("qwen3_untied_bias", "3:1", kGdn), ExportTarget::transformers,
              ExportDtype::f32);
  exports.add("untied_bias_full", tiny_of("qwen3_untied_bias", "3:0-2", kGdn),
              ExportTarget::transformers, ExportDtype::f32, {}, kTiny / "qwen3_untied_bias");
  exports.add("no_conv", tiny_of("qwen3_tied", "2:1", no_conv), ExportTarget::transformers,
              ExportDtype::bf16);
  EXPECT_EQ(exports.check(), 0);
  const fs::path judge = fs::path(SHARED_DIR) / "peer/check_export.py";
  if (fs::exists(judge))
    EXPECT_EQ(run(peer_python().string() + " " + judge.string() + " " + demo.path.string() + " " +
                  demo.logits.string()),
              0);
}

TEST(TransformersOpens, TheModelingFileByItself) {
  if (!fs::exists(peer_python())) GTEST_SKIP() << "all of it: no peer environment";
  EXPECT_EQ(run(peer_python().string() + " " + (kTests / "check_modeling.py").string() +
                " " RESOURCES_DIR "/modeling"),
            0);
}

// The engine's own continuation of a row, with how far each choice was ahead, as check_gguf.py
// reads it.
nlohmann::json continuation(const HybridWeights& weights, std::vector<int64_t> ids, int count,
                            double tie) {
  const MorphModel model = runnable(weights);
  const size_t before = ids.size();
  const std::vector<int64_t> more = model.greedy(ids, weights.plan, count);
  ids.insert(ids.end(), more.begin(), more.end());
  const at::Tensor logits =
      logits_of(model, weights.plan, at::tensor(at::ArrayRef<int64_t>(ids), at::kLong));
  nlohmann::json margins = nlohmann::json::array();
  for (size_t i = 0; i < more.size(); ++i) {
    const at::Tensor top = std::get<0>(logits[static_cast<int64_t>(before + i) - 1].topk(2));
    margins.push_back((top[0] - top[1]).item<double>());
  }
  return {{"ids", more}, {"margins", margins}, {"tie", tie}};
}

// Stories of the demo's own kind: branches aligned to the demo if there are any. Perplexity is that
// of 511 tokens, judged against the float32 source, so rounding counts, too.
TEST(LlamaCppOpens, IrregularHybridsInEveryType) {
  if (!fs::exists(llama_python()) || !fs::exists(peer_python()))
    GTEST_SKIP() << "all of it: no llama.cpp environment";
  const HybridWeights weights = hybrid_of(kDemo, "10:1-3", kGdn);
  Exports exports;
  const fs::path stock = exports.path() / "stock.json";
  exports.add("stock", weights, ExportTarget::transformers, ExportDtype::f32, kDemo, {}, stock);
  ASSERT_EQ(exports.check(), 0);
  const Tokenizer tokenizer = Tokenizer::load(kDemo);
  const auto text = open_text("story:77", tokenizer);
  const std::vector<int64_t> start = text->take(0, 0, 96), row = text->take(0, 1, 512);
  const fs::path logits = exports.path() / "long.safetensors",
                 greedy = exports.path() / "greedy.json";
  const at::Tensor ids = at::tensor(at::ArrayRef<int64_t>(row), at::kLong);
  write_safetensors(logits,
                    {{"input_ids_0", at::tensor(at::ArrayRef<int64_t>(start), at::kLong)},
                     {"input_ids_1", ids},
                     {"logits_1", logits_of(runnable(weights), weights.plan, ids)}},
                    {});
  // transformers continues the first check prompt as the engine does.
  const auto check_prompt =
      tokenizer.encode("The capital of the country is", {.add_special = true});
  EXPECT_EQ(nlohmann::json::parse(read_whole_file(stock, 1 << 16)),
            continuation(weights, check_prompt, 16, 0).at("ids"));
  // llama.cpp rounds activations to 8 bits for q8_0 and to the type of the weights for f16 and
  // bf16: measured, q8_0 turns choices that are 0.02 nats ahead, the others none.
  for (const auto& [dtype, tie] :
       {std::pair{ExportDtype::f32, 0.001}, std::pair{ExportDtype::f16, 0.01},
        std::pair{ExportDtype::bf16, 0.05}, std::pair{ExportDtype::q8_0, 0.1}}) {
    const auto done =
        testing::export_to(weights, ExportTarget::gguf, dtype,
                           exports.path() / (to_string(dtype) + ".gguf"), 1 << 22, kDemo);
    write_file_atomic(greedy, continuation(weights, start, 48, tie).dump());
    EXPECT_EQ(run(llama_python().string() + " " + (kTests / "check_gguf.py").string() + " " +
                  done.path.string() + " " + logits.string() + " " + greedy.string()),
              0)
        << to_string(dtype);
  }
}

// Shapes that fla's kernels take too (heads of 16 and more). FLASHMORPH_FLA_FOLDER keeps the
// exports for check_fla_gpu.py on a machine with a GPU.
TEST(Fla, EqualsAFloat64RecurrenceOfItsOwnFiles) {
  if (!fs::exists(peer_python())) GTEST_SKIP() << "all of it: no peer environment";
  const TinyShape small{.layers = 3,
                        .hidden = 64,
                        .ffn = 96,
                        .heads = 2,
                        .kv_heads = 1,
                        .head_dim = 32,
                        .vocab = 300};
  const TinyShape smollm2{.layers = 4,
                          .hidden = 192,
                          .ffn = 320,
                          .heads = 3,
                          .kv_heads = 1,
                          .head_dim = 64,
                          .vocab = 1000};
  TinyShape qwen2 = small;
  qwen2.qkv_bias = true;
  qwen2.tied = false;
  BranchOptions negative = kGdn, no_conv = kGdn;
  negative.double_beta = true;
  no_conv.conv = 0;
  const TemporaryFolder folder;
  const char* kept = std::getenv("FLASHMORPH_FLA_FOLDER");
  const fs::path path = kept ? fs::path(kept) : folder.path();
  std::string folders;
  for (const auto& [name, weights] :
       {std::pair{"llama", testing::tiny_hybrid(small, LayerPlan::parse("3:1"), kGdn)},
        std::pair{"qwen2_negative", testing::tiny_hybrid(qwen2, LayerPlan::parse("3:0"), negative)},
        std::pair{"no_conv", testing::tiny_hybrid(small, LayerPlan::parse("3:0,2"), no_conv)},
        std::pair{"smollm2", testing::tiny_hybrid(smollm2, LayerPlan::parse("4:1"), kGdn)}}) {
    const auto done = testing::export_to(weights, ExportTarget::fla, ExportDtype::f32, path / name);
    folders += " " + done.path.string();
  }
  EXPECT_EQ(run(peer_python().string() + " " + (kTests / "check_fla.py").string() + folders), 0);
  // As exported by default; numpy has no bfloat16, so this one is for fla alone.
  testing::export_to(testing::tiny_hybrid(smollm2, LayerPlan::parse("4:0,3"), kGdn),
                     ExportTarget::fla, ExportDtype::bf16, path / "smollm2_bf16");
}

TEST(TokenizersReads, WhatWeMakeOfAGguf) {
  const fs::path gguf =
      named_or("FLASHMORPH_TEST_DATA", "test-data") / "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (!fs::exists(peer_python()) || !fs::exists(gguf))
    GTEST_SKIP() << "all of it: no peer environment or test data";
  const TemporaryFolder folder;
  write_tokenizer_files(gguf, inspect_checkpoint(gguf), folder.path());
  EXPECT_EQ(run(peer_python().string() +
                " " TEST_DATA_DIR "/make_tokenizers.py check " TEST_DATA_DIR
                "/golden/tokenizers/smollm2.json " +
                (folder.path() / "tokenizer.json").string() + " > /dev/null"),
            0);
  EXPECT_NO_THROW(check_same_ids(Tokenizer::load(gguf), folder.path()));
}

}  // namespace
}  // namespace flashmorph
