// SPDX-License-Identifier: Apache-2.0
// GGUF files of architecture qwen35, read by our own parser: keys, names, layouts, blocks,
// tokenizer.
#include <cmath>

#include <gtest/gtest.h>

#include "core/export/gguf_file_writer.h"
#include "core/export/gguf_qwen35.h"
#include "core/load/gguf.h"
#include "core/load/tokenizer.h"
#include "core/run/error.h"
#include "tests/export/tiny_hybrid.h"

namespace flashmorph {
namespace {

using testing::export_to;
using testing::TemporaryFolder;
using testing::tiny_hybrid;

const TinyShape kQwen3{.layers = 4,
                       .hidden = 32,
                       .ffn = 64,
                       .heads = 4,
                       .kv_heads = 2,
                       .head_dim = 16,
                       .qk_norm = true};

// d = 127 / 127 = 1: values are their own codes, halves round away from zero.
TEST(Q8_0, ByHand) {
  std::vector<float> x(64, 0.0F);
  x[0] = 127;
  x[1] = -3;
  x[2] = 2.5F;
  x[3] = -2.5F;
  const std::string block = encode_q8_0(x.data(), 64);
  ASSERT_EQ(block.size(), 68u);
  EXPECT_EQ(block.substr(0, 6), std::string("\x00\x3c\x7f\xfd\x03\xfd", 6));
  EXPECT_EQ(block.substr(34), std::string(34, '\0'));  // a block of zeros
}

TEST(Q8_0, ComesBackWithinHalfAStep) {
  at::Generator generator = at::detail::createCPUGenerator(1);
  const at::Tensor x = at::empty({32 * 20}, at::kFloat).normal_(0.0, 0.02, generator);
  const std::string blocks = encode_q8_0(x.const_data_ptr<float>(), x.numel());
  std::vector<float> back(static_cast<size_t>(x.numel()));
  decode_gguf_blocks(*gguf_type(8), std::as_bytes(std::span(blocks)), back);
  for (int64_t b = 0; b < 20; ++b) {
    const double d = x.slice(0, 32 * b, 32 * b + 32).abs().max().item<double>() / 127;
    for (int64_t i = 32 * b; i < 32 * b + 32; ++i)
      // half a step, and the rounding of d to float16 times the code
      EXPECT_LE(std::fabs(x[i].item<double>() - back[static_cast<size_t>(i)]),
                0.5 * d + 127 * d * 0x1p-11 + 1e-9)
          << i;
  }
}

TEST(GgufExport, KeysNamesAndLayouts) {
  const HybridWeights weights =
      tiny_hybrid(kQwen3, LayerPlan::parse("4:0,3"), BranchOptions::of(BranchKind::gdn));
  const TemporaryFolder folder;
  const auto path = folder.path() / "out.gguf";
  export_to(weights, ExportTarget::gguf, ExportDtype::bf16, path);
  const GgufFile file(path);
  EXPECT_EQ(file.text("general.architecture"), "qwen35");
  EXPECT_EQ(file.integer("qwen35.block_count"), 4);
  const auto& recurrent =
      std::get<GgufArray>(file.metadata().at("qwen35.attention.recurrent_layers"));
  EXPECT_EQ(recurrent.kind, GgufKind::boolean);
  ASSERT_EQ(recurrent.count, 4u);
  EXPECT_EQ(recurrent.bytes[0], std::byte{0});
  EXPECT_EQ(recurrent.bytes[1], std::byte{1});
  EXPECT_FALSE(file.metadata().contains("qwen35.full_attention_interval"));  // not periodic
  const auto sections = file.integers("qwen35.rope.dimension_sections").value();
  EXPECT_EQ(sections, (std::vector<int64_t>{3, 3, 2, 0}));  // 8 pairs of a head of 16
  EXPECT_EQ(file.integer("qwen35.ssm.inner_size"), 64);
  const auto values = [&](const char* name) {
    const auto found = file.tensors().find(name);
    EXPECT_NE(found, file.tensors().end()) << name;
    const auto flat = file.dequantize(name);
    return at::tensor(at::ArrayRef<float>(flat), at::kFloat).view(found->second.shape);
  };
  EXPECT_TRUE(
      at::equal(values("blk.1.ssm_a"), -weights.at("model.layers.1.linear_attn.A_log").exp()));
  EXPECT_TRUE(
      at::equal(values("blk.1.ssm_dt.bias"), weights.at("model.layers.1.linear_attn.dt_bias")));
  EXPECT_TRUE(at::equal(values("blk.1.attn_norm.weight"),
                        weights.at("model.layers.1.input_layernorm.weight")));
  EXPECT_TRUE(at::equal(values("blk.0.attn_output.weight"),
                        2 * weights.at("model.layers.0.self_attn.o_proj.weight")));
  EXPECT_EQ(values("blk.1.ssm_conv1d.weight").sizes(), (at::IntArrayRef{192, 4}));
  EXPECT_EQ(values("blk.0.attn_q.weight").sizes(), (at::IntArrayRef{128, 32}));
  EXPECT_STREQ(file.tensors().at("blk.0.attn_q.weight").type->name, "BF16");
  EXPECT_FALSE(file.tensors().contains("output.weight"));  // tied
}

TEST(GgufExport, BlocksWhereRowsAllowThem) {
  TinyShape odd = kQwen3;
  odd.ffn = 48;  // down_proj has rows of 48
  const TemporaryFolder folder;
  const auto path = folder.path() / "out.gguf";
  export_to(tiny_hybrid(odd, LayerPlan::parse("4:1,3"), BranchOptions::of(BranchKind::gdn)),
            ExportTarget::gguf, ExportDtype::q8_0, path);
  const GgufFile file(path);
  EXPECT_STREQ(file.tensors().at("blk.0.ffn_up.weight").type->name, "Q8_0");
  EXPECT_STREQ(file.tensors().at("blk.0.ffn_down.weight").type->name, "F16");
  EXPECT_STREQ(file.tensors().at("blk.0.attn_norm.weight").type->name, "F32");
  EXPECT_EQ(file.integer("qwen35.full_attention_interval"), 2);
}

TEST(GgufExport, CarriesTheTeachersTokenizer) {
  const std::filesystem::path teacher = RESOURCES_DIR "/demo/teacher";
  TinyShape shape = kQwen3;
  shape.vocab = 800;  // seven rows more than the tokenizer has
  const TemporaryFolder folder;
  const auto path = folder.path() / "out.gguf";
  export_to(tiny_hybrid(shape, LayerPlan::parse("4:0,3"), BranchOptions::of(BranchKind::gdn)),
            ExportTarget::gguf, ExportDtype::f16, path, kDefaultShardBytes, teacher);
  const GgufTokenizerFields fields = gguf_tokenizer_fields(GgufFile(path));
  EXPECT_EQ(fields.tokens.size(), 800u);
  EXPECT_EQ(fields.token_types[799], 5);
  EXPECT_EQ(fields.pre, "qwen2");
  EXPECT_EQ(fields.add_bos, false);
  const Tokenizer ours = Tokenizer::load(teacher), written = Tokenizer::load(path);
  for (const char* text :
       {"Clara found 12 red kettles, didn't she?", "<|im_start|>user\nHello<|im_end|>"})
    EXPECT_EQ(ours.encode(text), written.encode(text)) << text;
  EXPECT_TRUE(std::filesystem::exists(path.string() + ".md"));
}

TEST(GgufExport, DamagedFilesAreRefused) {
  const HybridWeights weights =
      tiny_hybrid(kQwen3, LayerPlan::parse("4:0,3"), BranchOptions::of(BranchKind::gdn));
  const TemporaryFolder folder;
  const auto path = folder.path() / "out.gguf";
  export_to(weights, ExportTarget::gguf, ExportDtype::f16, path);
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 64);
  EXPECT_THROW(gguf_qwen35_weights(path), Error);
  EXPECT_THROW(gguf_qwen35_weights(std::filesystem::path(TEST_DATA_DIR) /
                                   "golden/tiny/gguf/qwen3_tied.gguf"),
               Error);
}

}  // namespace
}  // namespace flashmorph
