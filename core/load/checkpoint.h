// SPDX-License-Identifier: Apache-2.0
// A teacher's weights, from a Hugging Face directory or a GGUF file, under Hugging Face's names.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include <ATen/ATen.h>

#include "core/load/model_config.h"
#include "core/load/tensor_table.h"

namespace flashmorph {

struct Checkpoint {
  ModelConfig config;
  std::map<std::string, at::Tensor>
      tensors;  ///< every name of tensor_table(config), in the dtype asked for
  std::filesystem::path path;
  bool is_gguf = false;
  std::string quantization;   ///< "" or the block type most weights were packed in, as Q4_1: a
                              ///< degraded teacher
  std::string config_sha256;  ///< of config.json; of a GGUF, of everything before its data
  std::string
      tokenizer_sha256;  ///< of tokenizer.json ("" when absent); of a GGUF, of its tokenizer.* keys
};

/// The configuration of a model directory or .gguf file. Reads headers only, and checks name, shape
/// and dtype of every tensor against the table. Throws Error("load", not_found, bad_file or
/// unsupported_model) in one sentence.
ModelConfig inspect_checkpoint(const std::filesystem::path& model);

/// The weights in `dtype` (float32, float16 or bfloat16) on `device`. Tensors that need no
/// conversion stay in the memory map of the file (read-only: do not write to them), the others are
/// converted piece by piece; loading takes at most 1.2 times the size of the weights in `dtype`.
/// Throws as inspect_checkpoint, and Error(out_of_memory).
Checkpoint load_checkpoint(const std::filesystem::path& model, at::ScalarType dtype,
                           at::Device device = at::kCPU);

/// SHA-256 of the weights: of the file when there is one, else of the lines "HASH  NAME\n" of the
/// shards in name order. Reads every byte. Throws as inspect_checkpoint.
std::string weights_sha256(const std::filesystem::path& model);

}  // namespace flashmorph
