// SPDX-License-Identifier: Apache-2.0
// Whole models: every tiny directory and GGUF, damaged directories, memory of loading.
#include "core/load/checkpoint.h"

#include <fstream>
#include <functional>
#include <iterator>
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/load/hf_directory.h"
#include "core/load/safetensors.h"
#include "core/load/sha256.h"
#include "core/run/error.h"
#include "tests/load/peak_memory.h"
#include "tests/load/refused.h"
#include "tests/load/temporary_folder.h"

namespace flashmorph {
namespace {

using testing::expect_refused;
using testing::TemporaryFolder;

const std::filesystem::path kTiny = TEST_DATA_DIR "/golden/tiny";
const char* const kDirectories[] = {"qwen3_tied",    "qwen3_untied_bias", "qwen2_tied",
                                    "qwen2_untied",  "llama_tied",        "llama_untied_bias",
                                    "llama_llama3",  "llama_sharded",     "llama_linear",
                                    "llama_dynamic", "llama_yarn"};

std::string text_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Checkpoint, EveryDirectoryFillsItsTableInEveryDtype) {
  for (const char* name : kDirectories) {
    const auto config = inspect_checkpoint(kTiny / name);
    EXPECT_EQ(config.name, name);
    for (const auto dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
      const auto checkpoint = load_checkpoint(kTiny / name, dtype);
      EXPECT_EQ(checkpoint.config, config);
      const auto table = tensor_table(config);
      EXPECT_EQ(checkpoint.tensors.size(), table.size());
      for (const auto& spec : table) {
        const auto& tensor = checkpoint.tensors.at(spec.name);
        EXPECT_EQ(tensor.sizes().vec(), spec.shape) << name << " " << spec.name;
        EXPECT_EQ(tensor.scalar_type(), dtype);
      }
    }
  }
}

TEST(Checkpoint, ConvertedValuesAreTheRoundedOnes) {
  const auto f32 = load_checkpoint(kTiny / "llama_tied", at::kFloat);
  const auto bf16 = load_checkpoint(kTiny / "llama_tied", at::kBFloat16);
  for (const auto& [name, tensor] : f32.tensors)
    EXPECT_TRUE(at::equal(tensor.to(at::kBFloat16), bf16.tensors.at(name))) << name;
  const SafetensorsFile file(kTiny / "llama_tied" / "model.safetensors");
  for (const auto& [name, tensor] : f32.tensors)
    EXPECT_TRUE(at::equal(tensor, file.tensor(name))) << name;
}

TEST(Checkpoint, SaysWhatTheFilesSay) {
  const auto config = inspect_checkpoint(kTiny / "llama_llama3");
  EXPECT_EQ(config.rope.type, "llama3");
  EXPECT_EQ(config.rope.theta, 5e5);
  EXPECT_EQ(config.rope.original_max_position, 32);
  EXPECT_EQ(config.dtype, "bfloat16");
  EXPECT_EQ(inspect_checkpoint(kTiny / "qwen2_untied").dtype, "float16");
  EXPECT_EQ(inspect_checkpoint(kTiny / "llama_tied").dtype, "float32");
  const auto checkpoint = load_checkpoint(kTiny / "llama_tied", at::kFloat);
  EXPECT_EQ(checkpoint.config_sha256, sha256_hex(text_of(kTiny / "llama_tied/config.json")));
  EXPECT_EQ(checkpoint.tokenizer_sha256, sha256_hex(text_of(kTiny / "llama_tied/tokenizer.json")));
  EXPECT_EQ(weights_sha256(kTiny / "llama_tied"),
            sha256_hex(text_of(kTiny / "llama_tied/model.safetensors")));
  std::string lines;
  for (const char* i : {"1", "2", "3"}) {
    const std::string name = std::string("model-0000") + i + "-of-00003.safetensors";
    lines += sha256_hex(text_of(kTiny / "llama_sharded" / name)) + "  " + name + "\n";
  }
  EXPECT_EQ(weights_sha256(kTiny / "llama_sharded"), sha256_hex(lines));
}

TEST(Checkpoint, GgufEqualsItsDirectory) {
  for (const char* name : {"llama_tied", "qwen3_tied", "qwen2_tied"}) {
    const auto gguf = load_checkpoint(kTiny / "gguf" / (std::string(name) + ".gguf"), at::kFloat);
    const auto directory = load_checkpoint(kTiny / name, at::kFloat);
    ASSERT_EQ(gguf.tensors.size(), directory.tensors.size()) << name;
    for (const auto& [tensor, values] : directory.tensors)
      EXPECT_TRUE(at::equal(gguf.tensors.at(tensor), values)) << name << " " << tensor;
    auto expected = directory.config;
    expected.dtype = "float32";
    expected.pad = 2;  // only the GGUF names one
    EXPECT_EQ(gguf.config, expected) << name;
    EXPECT_TRUE(gguf.is_gguf);
    EXPECT_EQ(gguf.quantization, "");
    EXPECT_EQ(gguf.tokenizer_sha256.size(), 64U);
  }
}

TEST(Checkpoint, GgufInBfloat16KeepsDivisorsOfItsRope) {
  const auto gguf = load_checkpoint(kTiny / "gguf/llama_llama3.gguf", at::kBFloat16);
  const auto directory = load_checkpoint(kTiny / "llama_llama3", at::kBFloat16);
  for (const auto& [name, values] : directory.tensors)
    EXPECT_TRUE(at::equal(gguf.tensors.at(name), values)) << name;
  EXPECT_EQ(gguf.config.dtype, "bfloat16");
  EXPECT_EQ(gguf.config.rope.freq_factors.size(), 8U);
  EXPECT_NEAR(gguf.config.rope.freq_factors.back(), 8, 1e-5);
  EXPECT_NEAR(gguf.config.rope.freq_factors.front(), 1, 1e-5);
}

TEST(Checkpoint, QuantisedGgufIsNearAndSaysSo) {
  const auto gguf = load_checkpoint(kTiny / "gguf/llama_tied_q8_0.gguf", at::kBFloat16);
  const auto directory = load_checkpoint(kTiny / "llama_tied", at::kFloat);
  EXPECT_EQ(gguf.quantization, "Q8_0");
  EXPECT_EQ(gguf.config.dtype, "Q8_0");
  for (const auto& [name, values] : directory.tensors) {
    const auto got = gguf.tensors.at(name).to(at::kFloat);
    // Q8_0 steps are max/127 of 32 numbers, bf16 keeps 8 bits: both under 1% of the largest weight.
    EXPECT_LT((got - values).abs().max().item<float>(), 0.01F * values.abs().max().item<float>())
        << name;
  }
}

// A copy of a tiny directory in which one thing is made wrong.
class Damaged {
 public:
  explicit Damaged(const char* name) {
    for (const auto& entry : std::filesystem::directory_iterator(kTiny / name))
      std::filesystem::copy(entry.path(), folder_.path() / entry.path().filename());
  }
  const std::filesystem::path& path() const { return folder_.path(); }
  Damaged& config(const nlohmann::json& more) { return json("config.json", more); }
  Damaged& json(const std::string& file, const nlohmann::json& more) {
    auto json = nlohmann::json::parse(text_of(path() / file));
    json.merge_patch(more);
    folder_.write(file, json.dump());
    return *this;
  }
  Damaged& weights(const std::function<void(std::map<std::string, at::Tensor>&)>& change) {
    const auto file = path() / "model.safetensors";
    std::map<std::string, at::Tensor> tensors;
    {
      const SafetensorsFile old(file);
      for (const auto& [name, entry] : old.entries()) tensors[name] = old.tensor(name).clone();
    }
    change(tensors);
    write_safetensors(file, {tensors.begin(), tensors.end()}, {});
    return *this;
  }
  void refused(std::vector<std::string> words) const {
    words.push_back(path().filename().string());
    expect_refused([&] { inspect_checkpoint(path()); }, words);
    expect_refused([&] { load_checkpoint(path(), at::kFloat); }, words);
  }
  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
};

TEST(Checkpoint, RefusesTensorsThatDoNotAgreeWithTheTable) {
  Damaged("llama_tied")
      .config({{"intermediate_size", 64}})
      .refused({"gate_proj", "expected shape [64, 32], got [48, 32]"});
  Damaged("llama_tied")
      .config({{"num_hidden_layers", 3}})
      .refused({"model.layers.2.input_layernorm.weight", "missing"});
  Damaged("llama_tied")
      .config({{"num_hidden_layers", 1}})
      .refused({"model.layers.1.", "no such tensor"});
  Damaged("llama_tied")
      .config({{"tie_word_embeddings", false}})
      .refused({"lm_head.weight", "missing"});
  Damaged("llama_tied").config({{"model_type", "qwen3"}}).refused({"q_norm", "missing"});
  Damaged("llama_tied")
      .weights([](auto& t) { t["model.norm.weight"] = at::ones({32}, at::kDouble); })
      .refused({"model.norm.weight", "F64"});
  Damaged("llama_tied")
      .weights([](auto& t) { t["model.norm.weight"] = at::ones({32}, at::kChar); })
      .refused({"model.norm.weight", "I8"});
  Damaged("llama_tied")
      .weights([](auto& t) { t.erase("model.norm.weight"); })
      .refused({"model.norm.weight", "missing"});
  Damaged("llama_tied")
      .weights([](auto& t) { t["model.extra"] = at::ones({1}); })
      .refused({"model.extra", "no such tensor"});
  Damaged buffers("llama_tied");
  buffers.weights(
      [](auto& t) { t["model.layers.0.self_attn.rotary_emb.inv_freq"] = at::ones({4}); });
  EXPECT_NO_THROW(load_checkpoint(buffers.path(), at::kFloat));
}

TEST(Checkpoint, ATiedHeadMustBeTheEmbedding) {
  Damaged same("llama_tied");
  same.weights([](auto& t) { t["lm_head.weight"] = t["model.embed_tokens.weight"].clone(); });
  EXPECT_FALSE(load_checkpoint(same.path(), at::kFloat).tensors.contains("lm_head.weight"));
  Damaged other("llama_tied");
  other.weights([](auto& t) { t["lm_head.weight"] = t["model.embed_tokens.weight"] + 1; });
  expect_refused([&] { load_checkpoint(other.path(), at::kFloat); },
                 {"lm_head.weight", "differs from the embedding"});
}

TEST(Checkpoint, RefusesDamagedIndexes) {
  const std::string index = "model.safetensors.index.json", norm = "model.norm.weight";
  for (const char* name : {"../x.safetensors", "/etc/x.safetensors", "a/b.safetensors",
                           "a\\b.safetensors", "..", "", "config.json"}) {
    Damaged damaged("llama_sharded");
    damaged.json(index, {{"weight_map", {{norm, name}}}}).refused({index, norm, "plain name"});
  }
  Damaged("llama_sharded")
      .json(index, {{"weight_map", {{norm, std::string("a\0.safetensors", 14)}}}})
      .refused({index, norm, "plain name"});
  Damaged("llama_sharded").json(index, {{"weight_map", {{norm, 5}}}}).refused({index, norm});
  Damaged("llama_sharded")
      .json(index, {{"weight_map", {{norm, "none.safetensors"}}}})
      .refused({"none.safetensors", "no such file"});
  Damaged("llama_sharded")
      .json(index, {{"weight_map", {{norm, "golden.safetensors"}}}})
      .refused({index, norm, "holds no such tensor"});
  Damaged("llama_sharded")
      .json(index, {{"weight_map", {{norm, nullptr}}}})
      .refused({norm, "the index does not place it"});
  Damaged("llama_sharded").json(index, {{"weight_map", nullptr}}).refused({index, "weight_map"});
  Damaged deep("llama_sharded");
  deep.folder().write(index, std::string(100000, '{'));
  deep.refused({index, "nested deeper"});
}

TEST(Checkpoint, RefusesWhatIsNoModel) {
  const TemporaryFolder folder;
  expect_refused([&] { inspect_checkpoint(folder.path() / "none"); }, {"none", "no such model"});
  expect_refused([&] { inspect_checkpoint(folder.path()); }, {"config.json", "no such file"});
  expect_refused([&] { inspect_checkpoint(kTiny / "llama_tied/model.safetensors"); },
                 {"model.safetensors"});
  expect_refused([&] { inspect_checkpoint(folder.write("x.gguf", "hello")); }, {"x.gguf", "magic"});
  expect_refused([&] { inspect_checkpoint("/dev/null"); }, {"/dev/null", "not a regular file"});
  std::filesystem::copy(kTiny / "llama_tied/config.json", folder.path() / "config.json");
  expect_refused([&] { inspect_checkpoint(folder.path()); }, {"model.safetensors"});
  folder.write("model.safetensors", "");
  expect_refused([&] { inspect_checkpoint(folder.path()); },
                 {"model.safetensors", "header length"});
}

TEST(Checkpoint, RefusesGgufTensorsThatDoNotAgree) {
  auto bytes = text_of(kTiny / "gguf/llama_tied.gguf");
  const auto change = [&](const std::string& from, const std::string& to) {
    auto changed = bytes;
    changed.replace(changed.find(from), from.size(), to);
    return changed;
  };
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& changed, std::vector<std::string> words) {
    words.push_back("m.gguf");
    expect_refused([&] { load_checkpoint(folder.write("m.gguf", changed), at::kFloat); }, words);
  };
  refused(change("blk.1.ffn_up.weight", "blk.1.ffn_xp.weight"), {"blk.1.ffn_up.weight", "missing"});
  refused(change("blk.1.attn_q.weight", "blk.9.attn_q.weight"), {"blk.1.attn_q.weight", "missing"});
  refused(bytes.substr(0, bytes.size() / 2), {"tensor"});
}

TEST(Checkpoint, LoadingTakesAtMostOnePointTwoTimesTheWeights) {
  const TemporaryFolder folder;
  // One large tensor and many middling ones, float32: 70 MB.
  const nlohmann::json config = {{"model_type", "llama"},    {"num_hidden_layers", 4},
                                 {"hidden_size", 512},       {"intermediate_size", 1024},
                                 {"num_attention_heads", 8}, {"num_key_value_heads", 4},
                                 {"vocab_size", 16000},      {"tie_word_embeddings", true}};
  folder.write("config.json", config.dump());
  int64_t numbers = 0;
  {
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const auto& spec : tensor_table(parse_model_config(config.dump(), "config.json"))) {
      tensors.emplace_back(spec.name, at::randn(spec.shape));
      numbers += tensors.back().second.numel();
    }
    write_safetensors(folder.path() / "model.safetensors", tensors, {});
  }
  for (const auto dtype : {at::kBFloat16, at::kFloat}) {
    const testing::PeakMemory peak;
    const auto checkpoint = load_checkpoint(folder.path(), dtype);
    for (const auto& [name, tensor] : checkpoint.tensors)
      (void)tensor.sum();  // touch what is mapped
    const auto took = static_cast<double>(peak.bytes());
    const auto weights =
        static_cast<double>(numbers) * static_cast<double>(c10::elementSize(dtype));
    RecordProperty(dtype == at::kFloat ? "peak_over_weights_f32" : "peak_over_weights_bf16",
                   std::to_string(took / weights));
    EXPECT_LT(took, 1.2 * weights) << at::toString(dtype) << ": " << took / weights;
  }
}

}  // namespace
}  // namespace flashmorph
