// SPDX-License-Identifier: Apache-2.0
// A real model: SmolLM2-135M-Instruct from its GGUF against the golden logits of transformers (tests/data/golden/smollm2).
#include <filesystem>

#include <gtest/gtest.h>

#include "core/load/safetensors.h"
#include "core/model/morph_model.h"

namespace flashmorph {
namespace {

std::string gguf_path() {
  if (const char* path = std::getenv("FLASHMORPH_SMOLLM2_GGUF")) return path;
  const char* data = std::getenv("FLASHMORPH_TEST_DATA");
  return std::string(data ? data : "") + "/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
}

TEST(SmolLM2, LogitsAndLikelihoodsEqualTheGoldens) {
  const std::string path = gguf_path();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not there: run packaging/fetch_test_data";
  const at::NoGradGuard no_grad;
  const auto teacher = std::make_shared<const Teacher>(load_checkpoint(path, at::kFloat));
  const MorphModel model(teacher, {BranchOptions::of(BranchKind::window)}, 1);
  const SafetensorsFile golden(TEST_DATA_DIR "/golden/smollm2/golden_gguf_f32.safetensors");
  for (int i = 0; i < 3; ++i) {
    const std::string n = std::to_string(i);
    const at::Tensor ids = golden.tensor("input_ids_" + n).to(at::kLong).unsqueeze(0);
    const at::Tensor logits =
        teacher->logits(model.states(ids, LayerPlan::all_full(model.layers()))).squeeze(0).to(at::kFloat);
    const at::Tensor last = logits.select(0, -1);
    EXPECT_LT((last - golden.tensor("logits_last_" + n)).abs().max().item<double>(), 1e-3);
    EXPECT_TRUE(at::equal(std::get<1>(last.topk(20)), golden.tensor("top20_ids_" + n).to(at::kLong)));
    const at::Tensor nll =
        -logits.slice(0, 0, -1).log_softmax(-1).gather(1, ids.squeeze(0).slice(0, 1).unsqueeze(1)).squeeze(1);
    EXPECT_LT((nll - golden.tensor("token_nll_" + n)).abs().max().item<double>(), 1e-3);
  }
}

}  // namespace
}  // namespace flashmorph
