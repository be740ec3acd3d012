// SPDX-License-Identifier: Apache-2.0
// Target gguf: architecture qwen35 of llama.cpp, for Qwen3 teachers with gdn branches; full layers
// by the list qwen35.attention.recurrent_layers (formats 6).
#pragma once

#include <filesystem>
#include <functional>

#include "core/export/export_target.h"
#include "core/export/hybrid_weights.h"

namespace flashmorph {

/// Writes one file: metadata, tokenizer of the teacher (directory or GGUF; none when empty),
/// tensors in dtype (matrices; norms, taps and decays stay F32, matrices whose rows are no multiple
/// of 32 become F16 under q8_0). told: bytes so far and in all; may throw. Throws
/// Error(export_refused) for what the architecture cannot express.
void write_gguf_qwen35(const std::filesystem::path& path, const HybridWeights& weights,
                       const std::filesystem::path& teacher, ExportDtype dtype,
                       const std::function<void(int64_t, int64_t)>& told);

/// The way back, from the file alone. Throws Error(bad_file).
HybridWeights gguf_qwen35_weights(const std::filesystem::path& path);

}  // namespace flashmorph
