// SPDX-License-Identifier: Apache-2.0
// GGUF: block decoders against the reference's bits, damaged files by hand, metadata.
#include "core/load/gguf.h"

#include <cmath>
#include <cstring>
#include <set>

#include <gtest/gtest.h>

#include "core/load/gguf_model.h"
#include "core/load/safetensors.h"
#include "core/load/tensor_table.h"
#include "tests/load/refused.h"

namespace flashmorph {
namespace {

using testing::expect_refused;

// Little-endian bytes, value after value.
class Bytes {
 public:
  template <typename T>
  Bytes& put(T value) {
    const auto* at = reinterpret_cast<const char*>(&value);
    text_.append(at, sizeof(T));
    return *this;
  }
  Bytes& u32(uint32_t value) { return put(value); }
  Bytes& u64(uint64_t value) { return put(value); }
  Bytes& raw(const std::string& text) {
    text_ += text;
    return *this;
  }
  Bytes& string(const std::string& text) { return u64(text.size()).raw(text); }
  Bytes& pad(size_t alignment) {
    while (text_.size() % alignment != 0) text_ += '\0';
    return *this;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

Bytes head(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
  return Bytes().raw("GGUF").u32(version).u64(tensors).u64(keys);
}

Bytes key(uint32_t kind, const std::string& name = "k") {
  return head(0, 1).string(name).u32(kind);
}

void refuse(const std::string& bytes, std::vector<std::string> words) {
  words.push_back("m.gguf");
  expect_refused([&] { GgufFile(std::as_bytes(std::span(bytes)), "m.gguf"); }, words);
}

GgufFile open(const std::string& bytes) { return {std::as_bytes(std::span(bytes)), "m.gguf"}; }

TEST(GgufBlocks, EqualTheReferenceBitForBit) {
  const SafetensorsFile golden(TEST_DATA_DIR "/golden/gguf_blocks.safetensors");
  int types = 0;
  for (uint32_t id = 0; id < 64; ++id) {
    const auto* type = gguf_type(id);
    if (type == nullptr || id == 0) continue;
    const auto bytes = golden.tensor(std::string(type->name) + ".bytes");
    const auto values = golden.tensor(std::string(type->name) + ".values");
    std::vector<float> out(static_cast<size_t>(values.numel()), std::nanf(""));
    decode_gguf_blocks(
        *type,
        {static_cast<const std::byte*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.numel())},
        out);
    EXPECT_EQ(std::memcmp(out.data(), values.const_data_ptr(), out.size() * sizeof(float)), 0)
        << type->name;
    ++types;
  }
  EXPECT_EQ(types, 10);
  const float numbers[] = {1.5F, -0.0F};
  std::vector<float> out(2);
  decode_gguf_blocks(*gguf_type(0), std::as_bytes(std::span(numbers)), out);
  EXPECT_EQ(std::memcmp(out.data(), numbers, sizeof(numbers)), 0);
}

TEST(GgufFile, ReadsEveryKindOfValue) {
  const auto bytes = head(0, 15)
                         .string("u8")
                         .u32(0)
                         .put(uint8_t{200})
                         .string("i8")
                         .u32(1)
                         .put(int8_t{-3})
                         .string("u16")
                         .u32(2)
                         .put(uint16_t{60000})
                         .string("i16")
                         .u32(3)
                         .put(int16_t{-300})
                         .string("u32")
                         .u32(4)
                         .u32(4000000000U)
                         .string("i32")
                         .u32(5)
                         .put(int32_t{-5})
                         .string("f32")
                         .u32(6)
                         .put(1e-5F)
                         .string("bool")
                         .u32(7)
                         .put(uint8_t{1})
                         .string("text")
                         .u32(8)
                         .string("x\ny")
                         .string("u64")
                         .u32(10)
                         .u64(uint64_t{1} << 40)
                         .string("i64")
                         .u32(11)
                         .put(int64_t{-9})
                         .string("f64")
                         .u32(12)
                         .put(0.1)
                         .string("texts")
                         .u32(9)
                         .u32(8)
                         .u64(2)
                         .string("a")
                         .string("")
                         .string("i16s")
                         .u32(9)
                         .u32(3)
                         .u64(2)
                         .put(int16_t{-1})
                         .put(int16_t{2})
                         .string("f32s")
                         .u32(9)
                         .u32(6)
                         .u64(1)
                         .put(0.5F);
  const auto file = open(bytes.text());
  EXPECT_EQ(file.integer("u8"), 200);
  EXPECT_EQ(file.integer("i8"), -3);
  EXPECT_EQ(file.integer("u16"), 60000);
  EXPECT_EQ(file.integer("i16"), -300);
  EXPECT_EQ(file.integer("u32"), 4000000000);
  EXPECT_EQ(file.integer("i32"), -5);
  EXPECT_EQ(file.number("f32"), 1e-5);  // not 9.999999747e-06
  EXPECT_EQ(file.boolean("bool"), true);
  EXPECT_EQ(file.text("text"), "x\ny");
  EXPECT_EQ(file.integer("u64"), int64_t{1} << 40);
  EXPECT_EQ(file.integer("i64"), -9);
  EXPECT_EQ(file.number("f64"), 0.1);
  EXPECT_EQ(file.texts("texts"), (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(file.integers("i16s"), (std::vector<int64_t>{-1, 2}));
  EXPECT_EQ(file.numbers("f32s"), std::vector<double>{0.5});
  EXPECT_FALSE(file.text("absent"));
  expect_refused([&] { file.integer("text"); }, {"m.gguf", "text", "whole number"});
  expect_refused([&] { file.texts("i16s"); }, {"m.gguf", "i16s", "strings"});
  expect_refused([&] { file.integers("f32s"); }, {"m.gguf", "f32s"});
  expect_refused([&] { file.boolean("u8"); }, {"m.gguf", "u8"});
  expect_refused([&] { file.texts("texts", 1); }, {"m.gguf", "texts", "at most 1"});
}

TEST(GgufFile, RefusesForeignFiles) {
  refuse("", {"magic"});
  refuse("GGU", {"magic"});
  refuse("GGMLxxxxxxxxxxxxxxxxxxxxx", {"magic", "not a GGUF file"});
  refuse(head(0, 0, 2).text(), {"version", "GGUF 2"});
  refuse(head(0, 0, 0x03000000).text(), {"big-endian"});
  EXPECT_NO_THROW(open(head(0, 0).text()));
}

TEST(GgufFile, RefusesHugeCountsBeforeReadingThem) {
  for (const uint64_t count : {uint64_t{1} << 60, ~uint64_t{0}, uint64_t{1} << 21}) {
    refuse(head(count, 0).text(), {"tensor count"});
    refuse(head(0, count).text(), {"key count"});
    refuse(key(9).u32(8).u64(count).text(), {"\"k\"", "strings"});
    refuse(key(9).u32(10).u64(count).text(), {"\"k\"", "entries"});
    refuse(key(8).u64(count).raw("abc").text(), {"\"k\"", "bytes wanted"});
    refuse(head(0, 1).u64(count).raw("abcdefghijklmnop").text(), {"key 0"});
  }
}

TEST(GgufFile, RefusesOddKeysAndValues) {
  refuse(key(13).u32(0).text(), {"\"k\"", "value type 13"});
  refuse(key(9).u32(9).u64(1).u32(9).u64(1).text(), {"\"k\"", "arrays of arrays"});
  refuse(key(9).u32(77).u64(1).text(), {"\"k\"", "value type 77"});
  refuse(key(7).put(uint8_t{2}).raw("   ").text(), {"\"k\"", "true or false"});
  refuse(head(0, 1).string("").u32(0).put(uint8_t{0}).text(), {"key"});
  refuse(head(0, 1).string(std::string("a\0b", 3)).u32(0).put(uint8_t{1}).text(), {"NUL"});
  refuse(head(0, 1).string(std::string(5000, 'k')).u32(0).put(uint8_t{1}).text(),
         {"a name of 5000 bytes"});
  refuse(head(0, 2).string("k").u32(4).u32(1).string("k").u32(4).u32(1).text(), {"\"k\"", "twice"});
  for (const uint32_t alignment : {0U, 3U, 1U << 31})
    refuse(key(4, "general.alignment").u32(alignment).text(), {"general.alignment"});
  refuse(key(8, "general.alignment").string("32").text(), {"general.alignment"});
}

struct Listing {
  std::string name = "t";
  std::vector<uint64_t> dims = {32};
  uint32_t type = 8;  // Q8_0: 34 bytes for 32 numbers
  uint64_t offset = 0;
};

std::string file_with(const std::vector<Listing>& list, size_t data) {
  auto bytes = head(list.size(), 0);
  for (const auto& t : list) {
    bytes.string(t.name).u32(static_cast<uint32_t>(t.dims.size()));
    for (const auto size : t.dims) bytes.u64(size);
    bytes.u32(t.type).u64(t.offset);
  }
  return bytes.pad(32).text() + std::string(data, '\1');
}

TEST(GgufFile, ReversesDimensionsAndFindsTheData) {
  const auto bytes = file_with({{"a", {32, 2}, 8, 0}, {"b", {3}, 0, 96}}, 96 + 12);
  const auto file = open(bytes);
  EXPECT_EQ(file.tensors().at("a").shape, (std::vector<int64_t>{2, 32}));
  EXPECT_EQ(file.tensors().at("a").bytes.size(), 68U);
  EXPECT_EQ(file.dequantize("b").size(), 3U);
  expect_refused([&] { file.dequantize("c"); }, {"m.gguf", "\"c\"", "missing"});
}

TEST(GgufFile, RefusesTensorsThatDoNotFit) {
  refuse(file_with({{}}, 33), {"tensor \"t\"", "outside"});
  refuse(file_with({{"t", {32}, 8, uint64_t{1} << 63}}, 34), {"tensor \"t\"", "outside"});
  refuse(file_with({{"t", {32}, 8, ~uint64_t{0} - 31}}, 34), {"tensor \"t\"", "outside"});
  refuse(file_with({{"t", {32}, 8, 32}}, 100), {"tensor \"t\"", "hole"});
  refuse(file_with({{"a", {32}, 8, 0}, {"b", {32}, 8, 32}}, 100), {"tensor \"b\"", "overlaps"});
  refuse(file_with({{"a", {32}, 8, 0}, {"b", {32}, 8, 0}}, 100), {"tensor \"b\"", "overlaps"});
  refuse(file_with({{"a", {32}, 8, 0}, {"a", {32}, 8, 64}}, 200), {"tensor \"a\"", "twice"});
  refuse(file_with({{"t", {33}, 8, 0}}, 100), {"tensor \"t\"", "no multiple"});
  refuse(file_with({{"t", {16, 2}, 8, 0}}, 100), {"tensor \"t\"", "no multiple"});
  refuse(file_with({{"t", {32}, 10, 0}}, 100), {"tensor \"t\"", "Q2_K"});
  refuse(file_with({{"t", {32}, 999, 0}}, 100), {"tensor \"t\"", "type 999"});
  refuse(file_with({{"t", {1, 1, 1, 1, 1}, 0, 0}}, 100), {"tensor \"t\"", "5 dimensions"});
  refuse(file_with({{"t", {0}, 0, 0}}, 100), {"tensor \"t\"", "dimension 0"});
  refuse(file_with({{"t", {uint64_t{1} << 33, uint64_t{1} << 33}, 0, 0}}, 100),
         {"tensor \"t\"", "overflows"});
  refuse(file_with({{"t", {uint64_t{1} << 63, 2}, 0, 0}}, 100), {"tensor \"t\"", "overflows"});
  refuse(file_with({{std::string("t\0", 2), {1}, 0, 0}}, 100), {"NUL"});
}

TEST(GgufFile, RefusesEveryTruncation) {
  const auto whole = file_with({{"a", {32}, 8, 0}, {"b", {3}, 0, 64}}, 64 + 12);
  EXPECT_NO_THROW(open(whole));
  for (size_t size = 0; size < whole.size(); ++size) refuse(whole.substr(0, size), {});
}

// The keys of a one-layer llama, and what is said instead of one of them.
std::string tiny_model(const std::string& arch, const std::string& changed, const Bytes& value) {
  std::vector<std::pair<std::string, Bytes>> keys = {
      {"general.architecture", Bytes().u32(8).string(arch)},
      {arch + ".block_count", Bytes().u32(4).u32(1)},
      {arch + ".context_length", Bytes().u32(4).u32(64)},
      {arch + ".embedding_length", Bytes().u32(4).u32(4)},
      {arch + ".feed_forward_length", Bytes().u32(4).u32(8)},
      {arch + ".attention.head_count", Bytes().u32(4).u32(2)},
      {arch + ".attention.layer_norm_rms_epsilon", Bytes().u32(6).put(1e-5F)},
      {arch + ".rope.freq_base", Bytes().u32(6).put(1e4F)}};
  bool replaced = false;
  for (auto& [name, bytes] : keys)
    if (name == changed) {
      bytes = value;
      replaced = true;
    }
  if (!replaced && !changed.empty()) keys.emplace_back(changed, value);
  auto bytes = head(1, keys.size());
  for (const auto& [name, v] : keys) bytes.string(name).raw(v.text());
  bytes.string("token_embd.weight").u32(2).u64(4).u64(6).u32(0).u64(0);
  return bytes.pad(32).text() + std::string(4 * 6 * 4, '\0');
}

ModelConfig config_of(const std::string& arch, const std::string& changed = {},
                      const Bytes& value = {}) {
  const auto bytes = tiny_model(arch, changed, value);
  return gguf_model_config(open(bytes));
}

TEST(GgufModel, ReadsTheConfiguration) {
  const auto config = config_of("llama");
  EXPECT_EQ(config.family, "llama");
  EXPECT_EQ(config.head_dim, 2);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.vocab, 6);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_TRUE(config.tied);
  EXPECT_EQ(config.name, "m");
  const auto array = Bytes().u32(9).u32(4).u64(1).u32(1);
  EXPECT_EQ(config_of("llama", "llama.attention.head_count_kv", array).kv_heads, 1);
  EXPECT_EQ(config_of("qwen3", "qwen3.attention.key_length", Bytes().u32(4).u32(8)).head_dim, 8);
  EXPECT_EQ(config_of("llama", "llama.rope.scaling.factor", Bytes().u32(6).put(4.0F)).rope.type,
            "linear");
}

TEST(GgufModel, RefusesByKey) {
  const auto bad = [](const std::string& changed, const Bytes& value,
                      std::vector<std::string> words) {
    words.push_back("m.gguf");
    expect_refused([&] { config_of("llama", changed, value); }, words);
  };
  expect_refused([] { config_of("gemma3"); }, {"m.gguf", "general.architecture", "gemma3"});
  bad("general.architecture", Bytes().u32(4).u32(1), {"general.architecture"});
  bad("llama.block_count", Bytes().u32(4).u32(0), {"0 is outside"});
  bad("llama.block_count", Bytes().u32(10).u64(~uint64_t{0}), {"llama.block_count", "too large"});
  bad("llama.block_count", Bytes().u32(8).string("1"), {"llama.block_count"});
  bad("llama.attention.head_count", Bytes().u32(4).u32(3), {"llama.attention.head_count"});
  bad("llama.attention.head_count_kv", Bytes().u32(9).u32(4).u64(2).u32(1).u32(1),
      {"head_count_kv", "2 entries for 1"});
  bad("llama.rope.dimension_count", Bytes().u32(4).u32(1), {"rope.dimension_count"});
  bad("llama.rope.scaling.type", Bytes().u32(8).string("longrope"),
      {"rope.scaling.type", "longrope"});
  bad("llama.rope.freq_base", Bytes().u32(6).put(std::nanf("")), {"rope"});
  bad("llama.attention.layer_norm_rms_epsilon", Bytes().u32(6).put(std::nanf("")),
      {"rms_norm_eps"});
  bad("llama.expert_count", Bytes().u32(4).u32(8), {"expert_count"});
  bad("llama.attention.sliding_window", Bytes().u32(4).u32(8), {"sliding_window"});
}

// A llama of one head of 64 dimensions, theta 5e5, with these divisors.
std::string model_with_rope_freqs(const std::vector<float>& divisors) {
  auto bytes = head(2, 7)
                   .string("general.architecture")
                   .u32(8)
                   .string("llama")
                   .string("llama.block_count")
                   .u32(4)
                   .u32(1)
                   .string("llama.context_length")
                   .u32(4)
                   .u32(131072)
                   .string("llama.embedding_length")
                   .u32(4)
                   .u32(64)
                   .string("llama.feed_forward_length")
                   .u32(4)
                   .u32(8)
                   .string("llama.attention.head_count")
                   .u32(4)
                   .u32(1)
                   .string("llama.rope.freq_base")
                   .u32(6)
                   .put(5e5F);
  bytes.string("token_embd.weight").u32(2).u64(64).u64(1).u32(0).u64(0);
  bytes.string("rope_freqs.weight").u32(1).u64(divisors.size()).u32(0).u64(256);
  bytes.pad(32).raw(std::string(256, '\0'));
  for (const float divisor : divisors) bytes.put(divisor);
  return bytes.text();
}

RopeConfig rope_of(const std::vector<float>& divisors) {
  const auto bytes = model_with_rope_freqs(divisors);
  return gguf_model_config(open(bytes)).rope;
}

TEST(GgufModel, RecognisesLlama3ScalingInItsDivisors) {
  // Plain over scaled frequencies of transformers for Llama 3.2 1B: theta 5e5, factor 32, 1, 4,
  // 8192.
  std::vector<float> divisors(15, 1.0F);
  for (const float middle : {1.65132916F, 3.29226279F, 9.66672993F}) divisors.push_back(middle);
  divisors.resize(32, 32.0F);
  divisors[1] = 0.999999881F;
  divisors[31] = 31.9999981F;
  const auto rope = rope_of(divisors);
  EXPECT_EQ(rope.type, "llama3");
  EXPECT_EQ(rope.factor, 32);
  EXPECT_EQ(rope.low_freq_factor, 1);
  EXPECT_EQ(rope.high_freq_factor, 4);
  EXPECT_EQ(rope.original_max_position, 8192);
  EXPECT_TRUE(rope.freq_factors.empty());

  divisors[16] = 3.3F;  // nobody's parameters: the divisors are kept as they are
  EXPECT_EQ(rope_of(divisors).type, "default");
  EXPECT_EQ(rope_of(divisors).freq_factors, divisors);
}

TEST(GgufModel, RefusesUnusableDivisors) {
  const auto refused = [](const std::vector<float>& divisors, const char* word) {
    expect_refused([&] { rope_of(divisors); }, {"m.gguf", "rope_freqs.weight", word});
  };
  refused(std::vector<float>(31, 1.0F), "expected [32], got [31]");
  refused(std::vector<float>(32, 0.0F), "not positive");
  refused(std::vector<float>(32, std::nanf("")), "not positive");
  refused(std::vector<float>(32, HUGE_VALF), "not positive");
}

TEST(GgufModel, EveryNameOfTheTableHasItsTwin) {
  EXPECT_EQ(gguf_tensor_name("model.embed_tokens.weight"), "token_embd.weight");
  EXPECT_EQ(gguf_tensor_name("lm_head.weight"), "output.weight");
  EXPECT_EQ(gguf_tensor_name("model.norm.weight"), "output_norm.weight");
  EXPECT_EQ(gguf_tensor_name("model.layers.12.self_attn.q_proj.bias"), "blk.12.attn_q.bias");
  ModelConfig config;
  config.layers = 2,
  config.heads = config.kv_heads = config.hidden = config.ffn = config.vocab = config.head_dim = 2;
  config.qk_norm = config.qkv_bias = config.o_bias = config.mlp_bias = true;
  std::set<std::string> names;
  for (const auto& spec : tensor_table(config)) names.insert(gguf_tensor_name(spec.name));
  EXPECT_EQ(names.size(), tensor_table(config).size());
}

}  // namespace
}  // namespace flashmorph
