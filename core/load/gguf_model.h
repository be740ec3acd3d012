// SPDX-License-Identifier: Apache-2.0
// From GGUF's words to ours: configuration and tensor names of the architectures llama, qwen2 and
// qwen3. No Torch.
#pragma once

#include <string>
#include <string_view>

#include "core/load/gguf.h"
#include "core/load/model_config.h"

namespace flashmorph {

/// Throws Error("load", bad_file or unsupported_model) naming the key.
ModelConfig gguf_model_config(const GgufFile& file);

/// GGUF's name of a Hugging Face tensor: blk.3.attn_q.weight for
/// model.layers.3.self_attn.q_proj.weight.
std::string gguf_tensor_name(std::string_view name);

/// Heads whose rows lie in interleaved order in the file (q and k of architecture llama), 0 for
/// other tensors.
int64_t gguf_permuted_heads(const ModelConfig& config, std::string_view name);

/// The block type most numbers are packed in, "" when none is packed (F32, F16, BF16 only).
std::string gguf_quantization(const GgufFile& file);

}  // namespace flashmorph
