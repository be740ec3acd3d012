// SPDX-License-Identifier: Apache-2.0
// The tokenizer keys of a GGUF file to TokenizerParts. The file has no pipeline: its `pre` names
// one.
#include <fmt/format.h>

#include "core/load/text.h"
#include "core/load/tokenizer.h"
#include "core/run/error.h"

namespace flashmorph {

TokenizerParts read_tokenizer_gguf(const GgufTokenizerFields& fields, const std::string& where) {
  if (fields.model == "llama" || fields.model == "t5")
    refuse_model(
        where,
        fmt::format("tokenizer.ggml.model {} (SentencePiece style) is not supported for now",
                    in_quotes(fields.model)),
        "");
  if (fields.model != "gpt2")
    refuse_model(where,
                 fmt::format("tokenizer.ggml.model {} is not supported", in_quotes(fields.model)),
                 "\"gpt2\" (byte-level BPE) is supported.");
  TokenizerParts parts;
  parts.rule = pretokenizer_rule(std::string_view(fields.pre), where);
  parts.nfc = parts.rule == PreTokenizerRule::qwen2 || parts.rule == PreTokenizerRule::qwen35;
  parts.bpe.ignore_merges = parts.rule == PreTokenizerRule::llama3;
  if (fields.tokens.empty() || fields.tokens.size() > (size_t{1} << 24))
    refuse_file(where, "tokenizer.ggml.tokens",
                fmt::format("{} tokens, expected 1 to 16777216", fields.tokens.size()));
  if (!fields.token_types.empty() && fields.token_types.size() != fields.tokens.size())
    refuse_file(
        where, "tokenizer.ggml.token_type",
        fmt::format("{} entries for {} tokens", fields.token_types.size(), fields.tokens.size()));
  parts.vocabulary.reserve(fields.tokens.size());
  for (size_t i = 0; i < fields.tokens.size(); ++i) {
    const std::string& piece = fields.tokens[i];
    const auto id = static_cast<int32_t>(i);
    const int32_t type = fields.token_types.empty() ? 1 : fields.token_types[i];
    if (type == 2 || type == 6 || type < 1 || type > 6)
      refuse_model(where,
                   fmt::format("tokenizer.ggml.token_type {} of token {} ({}) is not supported",
                               type, i, in_quotes(piece)),
                   "1 normal, 3 special, 4 user-defined and 5 unused are supported.");
    if (!parts.vocabulary.emplace(piece, id).second)
      refuse_file(where, fmt::format("tokenizer.ggml.tokens[{}]", i),
                  fmt::format("{} occurs twice", in_quotes(piece)));
    if (type != 3 && type != 4) continue;
    if (piece.empty() || piece.size() > 1024)
      refuse_file(where, fmt::format("tokenizer.ggml.tokens[{}]", i),
                  "a special token is empty or longer than 1024 bytes");
    parts.added.push_back({piece, id, type == 3, false});
  }
  parts.merges.reserve(fields.merges.size());
  for (size_t i = 0; i < fields.merges.size(); ++i) {
    const std::string& line = fields.merges[i];
    const size_t space = line.find(' ');
    if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos)
      refuse_file(where, fmt::format("tokenizer.ggml.merges[{}]", i),
                  fmt::format("expected two pieces, got {}", in_quotes(line)));
    parts.merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  parts.bos = fields.bos;
  parts.eos = fields.eos;
  parts.pad = fields.pad;
  if (fields.add_bos.value_or(parts.rule == PreTokenizerRule::llama3)) {
    if (!fields.bos)
      refuse_file(where, "tokenizer.ggml.bos_token_id",
                  "missing, though add_bos_token asks for it");
    parts.prefix = {*fields.bos};
  }
  return parts;
}

}  // namespace flashmorph
