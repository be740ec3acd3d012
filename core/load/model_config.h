// SPDX-License-Identifier: Apache-2.0
// What a teacher is, as one plain struct; read from config.json here and from GGUF metadata in
// gguf_model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace flashmorph {

/// Rotary embedding; the fields a type does not use keep their defaults.
struct RopeConfig {
  std::string type = "default";  ///< default, linear, dynamic, yarn, llama3
  double theta = 1e4;
  double partial_rotary_factor = 1;  ///< always 1: other values are refused
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  ///< llama3
  int64_t original_max_position = 0;                 ///< llama3, yarn; tokens
  double attention_factor = 0;            ///< yarn; 0: derived from factor, mscale, mscale_all_dim
  double beta_fast = 32, beta_slow = 1;   ///< yarn
  double mscale = 0, mscale_all_dim = 0;  ///< yarn; 0: not given
  bool truncate = true;                   ///< yarn: round the correction range to whole dimensions
  std::vector<float>
      freq_factors;  ///< [head_dim / 2] divisors of the frequencies (GGUF rope_freqs), else empty

  bool operator==(const RopeConfig&) const = default;
};

struct ModelConfig {
  std::string family;  ///< llama, qwen2, qwen3, mistral (without a window)
  int64_t layers = 0, hidden = 0, ffn = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0;
  double rms_norm_eps = 1e-6;
  bool tied = false;  ///< the head is the embedding
  bool qk_norm = false, qkv_bias = false, o_bias = false, mlp_bias = false;
  RopeConfig rope;
  int64_t max_position = 0;  ///< tokens
  std::optional<int64_t> bos, pad;
  std::vector<int64_t> eos;
  std::string
      dtype;  ///< of the files: float32, float16, bfloat16, or the block type of a GGUF as Q4_1
  std::string name;  ///< base name of the directory or file

  bool operator==(const ModelConfig&) const = default;
};

/// Reads the text of a config.json. Every spelling of the rope keys is accepted, two that disagree
/// are not. where: file named in the sentences. Throws Error("load", bad_file) on damage and
/// (unsupported_model) on a model this engine cannot run, with the reason and the next step.
ModelConfig parse_model_config(const std::string& json_text, const std::string& where);

/// Throws when sizes are impossible or beyond what the engine allows (so that no later product
/// overflows).
void check_sizes(const ModelConfig& config, const std::string& where);

}  // namespace flashmorph
