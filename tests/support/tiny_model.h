// SPDX-License-Identifier: Apache-2.0
// Small random teachers for tests: every tensor of the table, seeded, in a moment and without
// files.
#pragma once

#include <cmath>
#include <memory>
#include <string>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "core/load/checkpoint.h"
#include "core/model/morph_model.h"

namespace flashmorph {

struct TinyShape {
  int64_t layers = 4, hidden = 32, ffn = 48, heads = 4, kv_heads = 2, head_dim = 8, vocab = 64;
  bool qk_norm = false, qkv_bias = false, tied = true;
};

/// Matrices N(0, 1/in) (the two that write to the stream smaller by sqrt(2 L), as trained models
/// have it), norms near 1.
inline Checkpoint tiny_checkpoint(const TinyShape& shape, uint64_t seed,
                                  at::ScalarType dtype = at::kFloat, at::Device device = at::kCPU) {
  Checkpoint made;
  ModelConfig& c = made.config;
  c.family = shape.qk_norm ? "qwen3" : shape.qkv_bias ? "qwen2" : "llama";
  c.layers = shape.layers;
  c.hidden = shape.hidden;
  c.ffn = shape.ffn;
  c.heads = shape.heads;
  c.kv_heads = shape.kv_heads;
  c.head_dim = shape.head_dim;
  c.vocab = shape.vocab;
  c.tied = shape.tied;
  c.qk_norm = shape.qk_norm;
  c.qkv_bias = shape.qkv_bias;
  c.max_position = 4096;
  c.name = "tiny";
  at::Generator generator = at::detail::createCPUGenerator(seed);
  const double out = 1.0 / std::sqrt(2.0 * static_cast<double>(shape.layers));
  for (const TensorSpec& spec : tensor_table(c)) {
    at::Tensor value = at::empty(spec.shape, at::kFloat).normal_(0.0, 1.0, generator);
    const auto ends = [&](const char* suffix) { return spec.name.ends_with(suffix); };
    if (ends("norm.weight"))
      value = 1 + 0.1 * value;
    else if (ends(".bias"))
      value = 0.1 * value;
    else if (!ends("embed_tokens.weight"))
      value = value / std::sqrt(static_cast<double>(spec.shape[1]));
    if (ends("o_proj.weight") || ends("down_proj.weight")) value = value * (4 * out);
    made.tensors[spec.name] = value.to(dtype).to(device);
  }
  return made;
}

inline std::shared_ptr<const Teacher> tiny_teacher(const TinyShape& shape = {}, uint64_t seed = 1,
                                                   at::ScalarType dtype = at::kFloat) {
  return std::make_shared<const Teacher>(tiny_checkpoint(shape, seed, dtype));
}

/// Teacher with branches of one kind. Lightning gates start at zero weights; `stir` moves every
/// branch parameter a little, so that no path of the gradient is zero by chance of the initial
/// values.
inline MorphModel tiny_morph_model(const TinyShape& shape = {}, uint64_t seed = 1,
                                   BranchKind kind = BranchKind::lightning,
                                   at::ScalarType dtype = at::kFloat, double stir = 0.1) {
  MorphModel model(tiny_teacher(shape, seed, dtype), {BranchOptions::of(kind)}, seed);
  at::Generator generator = at::detail::createCPUGenerator(seed + 1);
  for (int l = 0; l < model.layers(); ++l)
    for (const auto& [name, value] : model.branch(l).parameters())
      model.branch(l).load(
          name, value + stir * at::empty(value.sizes(), at::kFloat).normal_(0.0, 1.0, generator) /
                            std::sqrt(static_cast<double>(value.dim() > 1 ? value.size(1) : 1)));
  return model;
}

/// Uniform random ids. -> [B, T] int64.
inline at::Tensor tiny_ids(int64_t B, int64_t T, int64_t vocab = 64, uint64_t seed = 3) {
  at::Generator generator = at::detail::createCPUGenerator(seed);
  return at::randint(0, vocab, {B, T}, generator, at::TensorOptions().dtype(at::kLong));
}

}  // namespace flashmorph
