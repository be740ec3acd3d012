// SPDX-License-Identifier: Apache-2.0
// config.json: families, spellings of the rope keys, refusals.
#include "core/load/model_config.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/load/json_text.h"
#include "core/load/tensor_table.h"
#include "tests/load/refused.h"

namespace flashmorph {
namespace {

using nlohmann::json;
using testing::expect_refused;

json small(const std::string& type) {
  return {{"model_type", type},      {"num_hidden_layers", 2},   {"hidden_size", 32},
          {"intermediate_size", 48}, {"num_attention_heads", 4}, {"num_key_value_heads", 2},
          {"vocab_size", 136},       {"rms_norm_eps", 1e-6},     {"max_position_embeddings", 256}};
}

ModelConfig parse(const json& config) {
  return parse_model_config(config.dump(), "dir/config.json");
}

ModelConfig with(const std::string& type, const json& more) {
  auto config = small(type);
  config.update(more);
  return parse(config);
}

void refuse(const std::string& type, const json& more, std::vector<std::string> words) {
  words.push_back("dir/config.json");
  expect_refused([&] { with(type, more); }, words);
}

TEST(ModelConfig, FamiliesDifferInBiasesNormsAndHeadDim) {
  const auto llama = parse(small("llama"));
  EXPECT_EQ(llama.head_dim, 8);
  EXPECT_FALSE(llama.qk_norm || llama.qkv_bias || llama.o_bias || llama.mlp_bias || llama.tied);
  EXPECT_EQ(llama.rope.theta, 1e4);
  EXPECT_EQ(llama.bos, 1);  // class defaults, as the file says nothing
  EXPECT_EQ(llama.eos, std::vector<int64_t>{2});

  const auto qwen2 = parse(small("qwen2"));
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.o_bias || qwen2.qk_norm);
  EXPECT_EQ(qwen2.head_dim, 8);
  EXPECT_FALSE(qwen2.bos);

  const auto qwen3 = parse(small("qwen3"));
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_EQ(qwen3.head_dim, 128);  // not 32 / 4
  EXPECT_FALSE(qwen3.qkv_bias);
  const auto biased = with("qwen3", {{"attention_bias", true}, {"head_dim", 16}});
  EXPECT_TRUE(biased.qkv_bias && biased.o_bias);
  EXPECT_EQ(biased.head_dim, 16);
  EXPECT_TRUE(with("llama", {{"mlp_bias", true}}).mlp_bias);
  EXPECT_EQ(with("mistral", {{"sliding_window", nullptr}}).family, "mistral");
}

TEST(ModelConfig, ReadsEveryTokenSpelling) {
  EXPECT_EQ(with("llama", {{"eos_token_id", {1, 5}}}).eos, (std::vector<int64_t>{1, 5}));
  EXPECT_EQ(with("llama", {{"eos_token_id", 7}}).eos, std::vector<int64_t>{7});
  EXPECT_TRUE(with("llama", {{"eos_token_id", nullptr}}).eos.empty());
  EXPECT_FALSE(with("llama", {{"bos_token_id", nullptr}}).bos);
  EXPECT_FALSE(with("llama", {{"pad_token_id", -1}}).pad);
  EXPECT_EQ(with("llama", {{"pad_token_id", 3}}).pad, 3);
  refuse("llama", {{"eos_token_id", {1, 136}}}, {"eos_token_id"});
  refuse("llama", {{"eos_token_id", "x"}}, {"eos_token_id"});
}

TEST(ModelConfig, AcceptsEverySpellingOfTheRopeKeys) {
  const json scaling = {{"factor", 8.0},
                        {"low_freq_factor", 1.0},
                        {"high_freq_factor", 4.0},
                        {"original_max_position_embeddings", 64}};
  json typed = scaling, old = scaling, both = scaling;
  typed["rope_type"] = "llama3";
  old["type"] = "llama3";
  both["rope_type"] = "llama3";
  both["rope_theta"] = 5e5;
  const auto a = with("llama", {{"rope_theta", 500000}, {"rope_scaling", typed}}).rope;
  EXPECT_EQ(a.type, "llama3");
  EXPECT_EQ(a.theta, 5e5);
  EXPECT_EQ(a.factor, 8);
  EXPECT_EQ(a.original_max_position, 64);
  EXPECT_EQ(with("llama", {{"rope_theta", 5e5}, {"rope_scaling", old}}).rope, a);
  EXPECT_EQ(with("llama", {{"rope_parameters", both}}).rope, a);
  EXPECT_EQ(
      with("llama", {{"rope_theta", 5e5}, {"rope_parameters", both}, {"rope_scaling", typed}}).rope,
      a);
  EXPECT_EQ(with("llama", {{"rope_theta", 5e5}, {"rope_parameters", typed}}).rope, a);
}

TEST(ModelConfig, ReadsEveryRopeType) {
  const auto linear = with("llama", {{"rope_scaling", {{"type", "linear"}, {"factor", 4}}}}).rope;
  EXPECT_EQ(linear.type, "linear");
  EXPECT_EQ(linear.factor, 4);
  EXPECT_EQ(with("llama", {{"rope_scaling", {{"type", "dynamic"}, {"factor", 2.5}}}}).rope.factor,
            2.5);
  const auto yarn = with("qwen3", {{"rope_parameters",
                                    {{"rope_type", "yarn"},
                                     {"factor", 4.0},
                                     {"rope_theta", 1e6},
                                     {"original_max_position_embeddings", 64},
                                     {"beta_fast", 16},
                                     {"attention_factor", 1.5},
                                     {"truncate", false}}}})
                        .rope;
  EXPECT_EQ(yarn.original_max_position, 64);
  EXPECT_EQ(yarn.beta_fast, 16);
  EXPECT_EQ(yarn.beta_slow, 1);
  EXPECT_EQ(yarn.attention_factor, 1.5);
  EXPECT_FALSE(yarn.truncate);
  // without factor: context over original context
  EXPECT_EQ(with("llama",
                 {{"rope_scaling", {{"type", "yarn"}, {"original_max_position_embeddings", 64}}}})
                .rope.factor,
            4);
}

TEST(ModelConfig, StopsWhenTwoRopeSpellingsDisagree) {
  refuse("llama", {{"rope_theta", 1e4}, {"rope_parameters", {{"rope_theta", 1e6}}}},
         {"rope_parameters.rope_theta", "disagrees"});
  refuse("llama", {{"rope_scaling", {{"rope_type", "linear"}, {"type", "dynamic"}, {"factor", 2}}}},
         {"rope_scaling.rope_type", "disagrees"});
  refuse("llama",
         {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2}}},
          {"rope_parameters", {{"rope_type", "default"}}}},
         {"rope_scaling", "disagrees"});
  refuse("llama",
         {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 2}}},
          {"rope_parameters", {{"rope_type", "linear"}, {"factor", 4}}}},
         {"rope_scaling", "disagrees"});
}

TEST(ModelConfig, RefusesUnusableRopes) {
  refuse("llama", {{"rope_scaling", {{"rope_type", "longrope"}, {"factor", 2}}}},
         {"rope_type", "longrope"});
  refuse("llama", {{"rope_scaling", {{"rope_type", "linear"}}}},
         {"rope_scaling.factor", "missing"});
  refuse("llama", {{"rope_scaling", {{"rope_type", "linear"}, {"factor", 0}}}},
         {"rope_scaling", "factor"});
  refuse("llama", {{"rope_scaling", {{"rope_type", "llama3"}, {"factor", 8}}}},
         {"low_freq_factor", "missing"});
  refuse(
      "llama",
      {{"rope_scaling",
        {{"rope_type", "llama3"}, {"factor", 8}, {"low_freq_factor", 4}, {"high_freq_factor", 4}}}},
      {"low_freq_factor < high_freq_factor"});
  refuse("llama", {{"rope_theta", 0}}, {"rope_theta"});
  refuse("llama", {{"rope_theta", "1e4"}}, {"rope_theta", "expected a number"});
  refuse("llama", {{"rope_scaling", 4}}, {"rope_scaling", "expected an object"});
  refuse("llama", {{"partial_rotary_factor", 0.5}}, {"partial_rotary_factor"});
  refuse("llama", {{"rope_interleaved", true}}, {"rope_interleaved"});
  refuse("llama", {{"rope_parameters", {{"full_attention", {{"rope_theta", 1e4}}}}}},
         {"full_attention"});
}

TEST(ModelConfig, RefusesWhatItCannotRunByName) {
  for (const char* type : {"smollm3", "gemma3_text", "gemma2", "qwen3_moe", "mixtral",
                           "qwen3_5_text", "gpt2", "flashmorph_hybrid"})
    refuse(type, json::object(), {type, "is not supported"});
  refuse("gemma3", {{"text_config", {{"hidden_size", 8}}}}, {"text_config"});
  refuse("qwen3", {{"num_experts", 8}}, {"num_experts"});
  refuse("qwen2", {{"use_sliding_window", true}, {"sliding_window", 64}}, {"use_sliding_window"});
  EXPECT_NO_THROW(with("qwen2", {{"use_sliding_window", false}, {"sliding_window", 64}}));
  refuse("mistral", {{"sliding_window", 4096}}, {"sliding_window"});
  refuse("qwen3", {{"layer_types", {"full_attention", "sliding_attention"}}},
         {"layer_types[1]", "sliding_attention"});
  refuse("qwen3", {{"layer_types", {"full_attention"}}}, {"layer_types", "1 entries for 2"});
  refuse("llama", {{"hidden_act", "gelu"}}, {"hidden_act", "gelu"});
  refuse("llama", {{"quantization_config", {{"bits", 4}}}}, {"quantization_config"});
}

TEST(ModelConfig, RefusesDamageNamingTheField) {
  for (const char* field : {"num_hidden_layers", "hidden_size", "intermediate_size",
                            "num_attention_heads", "vocab_size"}) {
    refuse("llama", {{field, nullptr}}, {field, "missing"});
    refuse("llama", {{field, "8"}}, {field, "expected a whole number"});
    refuse("llama", {{field, 1.5}}, {field, "expected a whole number"});
    refuse("llama", {{field, 0}}, {field});
    refuse("llama", {{field, -4}}, {field});
    refuse("llama", {{field, int64_t{1} << 62}}, {field});
    refuse("llama", {{field, ~uint64_t{0}}}, {field, "too large"});
  }
  refuse("llama", {{"num_key_value_heads", 3}}, {"num_key_value_heads"});
  refuse("llama", {{"head_dim", 15}}, {"head_dim", "odd"});
  refuse("llama", {{"rms_norm_eps", -1}}, {"rms_norm_eps"});
  refuse("llama", {{"tie_word_embeddings", "yes"}}, {"tie_word_embeddings"});
  refuse("llama", {{"layer_types", "full_attention"}}, {"layer_types"});
  const auto text = [](const std::string& json_text, std::vector<std::string> words) {
    words.push_back("c.json");
    expect_refused([&] { parse_model_config(json_text, "c.json"); }, words);
  };
  text("", {"not valid JSON"});
  text("{", {"not valid JSON"});
  text("[]", {"expected an object"});
  text("{}", {"model_type", "missing"});
  text(std::string(100000, '['), {"nested deeper"});
  text("{\"model_type\":\"llama\",\"model_type\":\"qwen3\"}", {"model_type", "twice"});
  text(std::string("{\"model_type\":\"ll\0ma\"}", 22), {"not valid JSON"});
  text("{\"model_type\":\"\xff\"}", {"not valid JSON"});
  text("{\"a\":1e999}", {"not valid JSON"});
  text("{\"model_type\":\"" + std::string(5000, 'x') + "\"}", {"is not supported"});
  text(std::string(5 << 20, ' '), {"bytes of JSON"});
}

TEST(JsonText, StringsMayHoldBrackets) {
  EXPECT_EQ(
      parse_json("{\"a\":\"" + std::string(200, '[') + "\\\"" + std::string(200, '{') + "\"}", "x")
          .size(),
      1U);
}

TEST(TensorTable, ListsEveryTensorOfAFamilyOnce) {
  const auto count = [](const ModelConfig& config) { return tensor_table(config).size(); };
  EXPECT_EQ(count(parse(small("llama"))), 3 + 2 * 9U);
  EXPECT_EQ(count(with("llama", {{"tie_word_embeddings", true}})), 2 + 2 * 9U);
  EXPECT_EQ(count(parse(small("qwen2"))), 3 + 2 * 12U);
  EXPECT_EQ(count(parse(small("qwen3"))), 3 + 2 * 11U);
  EXPECT_EQ(count(with("qwen3", {{"attention_bias", true}})), 3 + 2 * 15U);
  EXPECT_EQ(count(with("llama", {{"mlp_bias", true}, {"attention_bias", true}})), 3 + 2 * 16U);
  const auto table = tensor_table(with("qwen3", {{"head_dim", 16}}));
  const auto keys = std::find_if(table.begin(), table.end(), [](const auto& spec) {
    return spec.name == "model.layers.1.self_attn.k_proj.weight";
  });
  ASSERT_NE(keys, table.end());
  EXPECT_EQ(keys->shape, (std::vector<int64_t>{32, 32}));
  EXPECT_EQ(table[2].name, "model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(table[2].shape, (std::vector<int64_t>{64, 32}));
}

}  // namespace
}  // namespace flashmorph
