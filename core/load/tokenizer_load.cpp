// SPDX-License-Identifier: Apache-2.0
// Tokenizer::load: which files a tokenizer is read from, and where bos and eos are named.
#include <fmt/format.h>

#include "core/load/file_map.h"
#include "core/load/gguf.h"
#include "core/load/json_text.h"
#include "core/load/text.h"
#include "core/load/tokenizer.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

using nlohmann::json;

json read_optional(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path)) return json::object();
  json value = parse_json(read_text(path, size_t{16} << 20), path.filename().string(),
                          {.bytes = size_t{16} << 20, .unique_keys = false});
  return value.is_object() ? value : json::object();
}

// "bos_token" of tokenizer_config.json: a text or {"content": text}; its id is looked up.
std::optional<int64_t> named_token(const json& config, const char* key,
                                   const TokenizerParts& parts) {
  const auto node = config.find(key);
  if (node == config.end()) return std::nullopt;
  std::string name;
  if (node->is_string()) name = node->get<std::string>();
  if (node->is_object() && node->contains("content") && (*node)["content"].is_string())
    name = (*node)["content"].get<std::string>();
  for (const AddedToken& token : parts.added)
    if (token.content == name) return token.id;
  const auto found = parts.vocabulary.find(name);
  if (found != parts.vocabulary.end()) return found->second;
  return std::nullopt;
}

// "bos_token_id" of config.json: a number, or a list whose first counts.
std::optional<int64_t> token_id(const json& config, const char* key) {
  const auto node = config.find(key);
  if (node == config.end()) return std::nullopt;
  const json& value = node->is_array() && !node->empty() ? node->front() : *node;
  if (!value.is_number_integer()) return std::nullopt;
  return value.get<int64_t>();
}

}  // namespace

GgufTokenizerFields gguf_tokenizer_fields(const GgufFile& file) {
  auto key = [](const char* name) { return std::string("tokenizer.ggml.") + name; };
  GgufTokenizerFields fields;
  const auto model = file.text(key("model"));
  if (!model) refuse_file(file.where(), key("model"), "missing: the file holds no tokenizer");
  fields.model = *model;
  fields.pre = file.text(key("pre")).value_or("");
  fields.tokens = file.texts(key("tokens")).value_or(std::vector<std::string>{});
  for (int64_t type : file.integers(key("token_type")).value_or(std::vector<int64_t>{}))
    fields.token_types.push_back(type < 0 || type > 100 ? 0 : static_cast<int32_t>(type));
  fields.merges = file.texts(key("merges")).value_or(std::vector<std::string>{});
  fields.bos = file.integer(key("bos_token_id"));
  fields.eos = file.integer(key("eos_token_id"));
  fields.pad = file.integer(key("padding_token_id"));
  fields.add_bos = file.boolean(key("add_bos_token"));
  return fields;
}

Tokenizer Tokenizer::load(const std::filesystem::path& model) {
  if (!std::filesystem::is_directory(model)) {
    const GgufFile file(model);
    return from_gguf(gguf_tokenizer_fields(file), file.where());
  }
  const auto file = model / "tokenizer.json";
  if (!std::filesystem::exists(file)) {
    const bool sentencepiece = std::filesystem::exists(model / "tokenizer.model");
    throw Error("load", ErrorCode::not_found,
                fmt::format("{} has no tokenizer.json{}", in_quotes(model.string()),
                            sentencepiece ? ", only a tokenizer.model" : ""),
                "Save the tokenizer in its fast form (tokenizer.json) beside the weights.");
  }
  const std::string where = file.string();
  TokenizerParts parts = read_tokenizer_json(read_text(file, size_t{256} << 20), where);
  const json names = read_optional(model / "tokenizer_config.json");
  const json config = read_optional(model / "config.json");
  auto choose = [&](const char* name, const char* id) {
    const auto named = named_token(names, name, parts);
    return named ? named : token_id(config, id);
  };
  parts.bos = choose("bos_token", "bos_token_id");
  parts.eos = choose("eos_token", "eos_token_id");
  parts.pad = choose("pad_token", "pad_token_id");
  return Tokenizer(std::move(parts), where);
}

}  // namespace flashmorph
