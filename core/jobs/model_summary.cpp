// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/model_summary.h"

#include "core/load/tensor_table.h"
#include "core/load/tokenizer.h"
#include "core/run/budget_solver.h"

namespace flashmorph {

nlohmann::json model_summary(const std::filesystem::path& model, const ModelConfig& c) {
  const int64_t weights = weight_count(c);
  const auto L = static_cast<int>(c.layers);
  return {{"name", c.name},
          {"family", c.family},
          {"layers", c.layers},
          {"hidden", c.hidden},
          {"ffn", c.ffn},
          {"heads", c.heads},
          {"kv_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"vocab", c.vocab},
          {"tied", c.tied},
          {"qk_norm", c.qk_norm},
          {"qkv_bias", c.qkv_bias},
          {"max_position", c.max_position},
          {"rope", {{"type", c.rope.type}, {"theta", c.rope.theta}, {"factor", c.rope.factor}}},
          {"rms_norm_eps", c.rms_norm_eps},
          {"dtype", c.dtype},
          {"weights", weights},
          {"weights_bytes", {{"float32", 4 * weights}, {"bfloat16", 2 * weights}}},
          {"kv_bytes_per_token", 4 * c.layers * c.kv_heads * c.head_dim},
          {"tokens", Tokenizer::load(model).vocab_size()},
          {"budgets",
           {{"6:1", budget_of_ratio(L, 6)},
            {"3:1", budget_of_ratio(L, 3)},
            {"1:1", budget_of_ratio(L, 1)}}}};
}

}  // namespace flashmorph
