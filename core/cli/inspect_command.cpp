// SPDX-License-Identifier: Apache-2.0
// flashmorph inspect: what a model is, from headers alone.
#include <memory>

#include <fmt/format.h>

#include "core/cli/program.h"
#include "core/jobs/model_summary.h"
#include "core/load/checkpoint.h"
#include "core/run/budget_solver.h"

namespace flashmorph {

CommandBody add_inspect_command(CLI::App& app) {
  auto model = std::make_shared<std::string>();
  app.add_option("MODEL,--model", *model, "Model directory or .gguf file")->required();
  app.footer("Example: flashmorph inspect MODEL\nReads no weights, but checks name, shape and dtype of every tensor.");
  return [model](CommandContext& context) {
    const ModelConfig c = inspect_checkpoint(*model);
    const nlohmann::json json = model_summary(*model, c);
    const auto L = static_cast<int>(c.layers);
    if (context.console.json()) {
      fmt::print("{}\n", json.dump());
      return 0;
    }
    const bool degraded = c.dtype.starts_with("Q");
    fmt::print("{}", text_table({{"model", c.name},
                                 {"family", c.family},
                                 {"weights", human_count(json["weights"].get<double>()) + ", " + c.dtype +
                                                 (degraded ? " (a degraded teacher)" : "")},
                                 {"layers", fmt::format("{}", c.layers)},
                                 {"hidden, FFN", fmt::format("{}, {}", c.hidden, c.ffn)},
                                 {"heads", fmt::format("{} query, {} key/value, {} wide", c.heads, c.kv_heads, c.head_dim)},
                                 {"vocabulary", fmt::format("{}{}", c.vocab, c.tied ? ", head tied to the embedding" : "")},
                                 {"rope", fmt::format("{}, theta {:g}", c.rope.type, c.rope.theta)},
                                 {"trained length", fmt::format("{} tokens", c.max_position)},
                                 {"KV cache", fmt::format("{} per token in bfloat16, all layers full",
                                                          human_bytes(json["kv_bytes_per_token"].get<double>()))},
                                 {"budgets", fmt::format("K = {} (6:1), {} (3:1), {} (1:1)", budget_of_ratio(L, 6),
                                                         budget_of_ratio(L, 3), budget_of_ratio(L, 1))}}));
    return 0;
  };
}

}  // namespace flashmorph
