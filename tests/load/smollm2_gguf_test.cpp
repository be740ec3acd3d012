// SPDX-License-Identifier: Apache-2.0
// The real SmolLM2-135M-Instruct Q4_1 file, when FLASHMORPH_SMOLLM2_GGUF names it or it lies among
// the test data that packaging/fetch_test_data fetches.
#include <cstdlib>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/load/checkpoint.h"
#include "core/load/gguf.h"
#include "tests/load/peak_memory.h"

namespace flashmorph {
namespace {

std::filesystem::path smollm2() {
  if (const char* named = std::getenv("FLASHMORPH_SMOLLM2_GGUF")) return named;
  const std::filesystem::path file = "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf";
  if (const char* given = std::getenv("FLASHMORPH_TEST_DATA")) return given / file;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"))
    return std::filesystem::path(cache) / "flashmorph/test-data" / file;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home == nullptr ? "." : home) / ".cache/flashmorph/test-data" / file;
}

TEST(SmolLm2Gguf, HoldsWhatTheFactsSay) {
  const auto path = smollm2();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "all of it: the model is not here";
  const auto facts =
      nlohmann::json::parse(std::ifstream(TEST_DATA_DIR "/golden/smollm2/facts.json"));
  const GgufFile file(path);
  EXPECT_EQ(file.metadata().size(), facts["gguf"]["keys"].get<size_t>());
  EXPECT_EQ(file.contents().data_offset, facts["gguf"]["data_offset"].get<uint64_t>());
  EXPECT_EQ(file.contents().alignment, facts["gguf"]["alignment"].get<uint64_t>());
  std::map<std::string, int64_t> tensors, bytes;
  for (const auto& [name, tensor] : file.tensors()) {
    ++tensors[tensor.type->name];
    bytes[tensor.type->name] += static_cast<int64_t>(tensor.bytes.size());
  }
  EXPECT_EQ(nlohmann::json(tensors), facts["gguf"]["tensors"]);
  EXPECT_EQ(nlohmann::json(bytes), facts["gguf"]["bytes"]);

  const auto checkpoint = load_checkpoint(path, at::kFloat);
  const auto& config = checkpoint.config;
  const auto& f = facts["config"];
  EXPECT_EQ(config.family, f["model_type"]);
  EXPECT_EQ(config.layers, f["num_hidden_layers"]);
  EXPECT_EQ(config.hidden, f["hidden_size"]);
  EXPECT_EQ(config.ffn, f["intermediate_size"]);
  EXPECT_EQ(config.heads, f["num_attention_heads"]);
  EXPECT_EQ(config.kv_heads, f["num_key_value_heads"]);
  EXPECT_EQ(config.head_dim, f["head_dim"]);
  EXPECT_EQ(config.vocab, f["vocab_size"]);
  EXPECT_EQ(config.max_position, f["max_position_embeddings"]);
  EXPECT_EQ(config.rope.theta, f["rope_theta"].get<double>());
  EXPECT_EQ(config.rms_norm_eps, f["rms_norm_eps"].get<double>());
  EXPECT_TRUE(config.tied);
  EXPECT_FALSE(config.qkv_bias || config.o_bias || config.mlp_bias || config.qk_norm);
  EXPECT_EQ(config.bos, 1);
  EXPECT_EQ(config.eos, std::vector<int64_t>{2});
  EXPECT_EQ(config.pad, 2);
  EXPECT_EQ(checkpoint.quantization, "Q4_1");
  EXPECT_EQ(checkpoint.tensors.size(), 272U);

  const auto q = checkpoint.tensors.at("model.layers.0.self_attn.q_proj.weight");
  const auto& probes = facts["gguf"]["probe_f32"];
  const auto row = [&](const char* key, int64_t index) {
    const auto expected = probes[key].get<std::vector<float>>();
    for (size_t i = 0; i < expected.size(); ++i)
      EXPECT_EQ(q[index][static_cast<int64_t>(i)].item<float>(), expected[i]) << key << " " << i;
  };
  row("model.layers.0.self_attn.q_proj.weight[0,:6]", 0);
  row("model.layers.0.self_attn.q_proj.weight[1,:3]", 1);
  EXPECT_EQ(weights_sha256(path), facts["gguf_sha256"]);
}

TEST(SmolLm2Gguf, LoadingTakesAtMostOnePointTwoTimesTheWeights) {
  const auto path = smollm2();
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "all of it: the model is not here";
  const testing::PeakMemory peak;
  const auto checkpoint = load_checkpoint(path, at::kBFloat16);
  const auto took = static_cast<double>(peak.bytes());
  int64_t numbers = 0;
  for (const auto& [name, tensor] : checkpoint.tensors) numbers += tensor.numel();
  const double weights = 2.0 * static_cast<double>(numbers);
  RecordProperty("peak_over_weights", std::to_string(took / weights));
  EXPECT_LT(took, 1.2 * weights);
}

}  // namespace
}  // namespace flashmorph
