// SPDX-License-Identifier: Apache-2.0
// tokenizer.json to TokenizerParts: every node of the pipeline is either known or refused by name.
#include <fmt/format.h>

#include "core/load/json_text.h"
#include "core/load/text.h"
#include "core/load/tokenizer.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

using nlohmann::json;

constexpr size_t kMaxAddedBytes = 1024;
const char* const kHint =
    "Byte-level BPE tokenizers of the Llama 3, Qwen2 to Qwen3.5 and SmolLM kinds are supported.";

std::string type_of(const json& node) {
  return node.is_object() && node.contains("type") && node["type"].is_string()
             ? node["type"].get<std::string>()
             : "";
}

const json& member(const json& node, const char* key) {
  static const json none;
  const auto found = node.find(key);
  return found == node.end() ? none : *found;
}

bool flag(const json& node, const char* key, const std::string& where) {
  const json& value = member(node, key);
  if (value.is_null()) return false;
  if (!value.is_boolean()) refuse_file(where, key, "expected true or false");
  return value.get<bool>();
}

std::optional<std::string> text_or_null(const json& node, const char* key,
                                        const std::string& where) {
  const json& value = member(node, key);
  if (value.is_null()) return std::nullopt;
  if (!value.is_string()) refuse_file(where, key, "expected a text or null");
  return value.get<std::string>();
}

template <typename What>  // what(): where the id stands, asked for only when it is wrong
int32_t id_of(const json& value, const std::string& where, What what) {
  if (!value.is_number_integer() || value < 0 || value > (1 << 24))
    refuse_file(where, what(), "expected a token id from 0 to 16777216");
  return value.get<int32_t>();
}

void read_model(const json& model, TokenizerParts& parts, const std::string& where) {
  if (!model.is_object()) refuse_file(where, "model", "expected an object");
  const std::string type = type_of(model);
  if (type == "Unigram")
    refuse_model(where, "model \"Unigram\" (SentencePiece style) is not supported for now", kHint);
  if (type != "BPE" && !(type.empty() && model.contains("merges")))
    refuse_model(where, fmt::format("model {} is not supported", in_quotes(type)), kHint);
  if (flag(model, "byte_fallback", where))
    refuse_model(where, "byte_fallback (SentencePiece style) is not supported for now", kHint);
  if (const json& dropout = member(model, "dropout"); !dropout.is_null() && dropout != 0)
    refuse_model(where, "model dropout is not supported", kHint);
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const auto affix = text_or_null(model, key, where); affix && !affix->empty())
      refuse_model(where, fmt::format("model {} {} is not supported", key, in_quotes(*affix)),
                   kHint);
  parts.bpe.ignore_merges = flag(model, "ignore_merges", where);
  parts.bpe.unk = text_or_null(model, "unk_token", where);
  parts.bpe.fuse_unk = flag(model, "fuse_unk", where);

  const json& vocabulary = member(model, "vocab");
  if (!vocabulary.is_object() || vocabulary.empty())
    refuse_file(where, "vocab", "expected an object of pieces and ids");
  parts.vocabulary.reserve(vocabulary.size());
  for (auto entry = vocabulary.begin(); entry != vocabulary.end(); ++entry) {
    const std::string& piece = entry.key();
    auto what = [&piece] { return fmt::format("vocab[{}]", in_quotes(piece)); };
    parts.vocabulary.emplace(piece, id_of(entry.value(), where, what));
  }
  const json& merges = member(model, "merges");
  if (!merges.is_array()) refuse_file(where, "merges", "expected a list");
  parts.merges.reserve(merges.size());
  for (const json& merge : merges) {
    if (merge.is_string()) {  // "a b"; a piece holds no space, bytes are spelled
      const auto& line = merge.get_ref<const std::string&>();
      const size_t space = line.find(' ');
      if (space != std::string::npos && line.find(' ', space + 1) == std::string::npos) {
        parts.merges.emplace_back(line.substr(0, space), line.substr(space + 1));
        continue;
      }
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      parts.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    refuse_file(where, fmt::format("merges[{}]", parts.merges.size()),
                "expected \"a b\" or [\"a\", \"b\"]");
  }
}

void read_added(const json& list, TokenizerParts& parts, const std::string& where) {
  if (list.is_null()) return;
  if (!list.is_array()) refuse_file(where, "added_tokens", "expected a list");
  for (const json& node : list) {
    if (!node.is_object()) refuse_file(where, "added_tokens", "expected objects");
    AddedToken token;
    token.content = text_or_null(node, "content", where).value_or("");
    if (token.content.empty() || token.content.size() > kMaxAddedBytes)
      refuse_file(where, "added_tokens",
                  fmt::format("content {} is empty or longer than {} bytes",
                              in_quotes(token.content), kMaxAddedBytes));
    token.id = id_of(member(node, "id"), where,
                     [&token] { return fmt::format("added_tokens {}", in_quotes(token.content)); });
    token.special = flag(node, "special", where);
    token.normalized = flag(node, "normalized", where);
    for (const char* key : {"single_word", "lstrip", "rstrip"})
      if (flag(node, key, where))
        refuse_model(
            where,
            fmt::format("added token {} with {} is not supported", in_quotes(token.content), key),
            kHint);
    parts.added.push_back(std::move(token));
  }
}

// "single" of a TemplateProcessing: special tokens before and after the text.
void read_template(const json& node, TokenizerParts& parts, const std::string& where) {
  const json& single = member(node, "single");
  if (!single.is_array()) refuse_file(where, "post_processor.single", "expected a list");
  bool seen_text = false;
  for (const json& item : single) {
    if (item.is_object() && item.contains("Sequence")) {
      if (seen_text) refuse_model(where, "post_processor repeats the text", kHint);
      seen_text = true;
      continue;
    }
    const json& special = item.is_object() ? member(item, "SpecialToken") : item;
    const std::string name =
        special.is_object() ? text_or_null(special, "id", where).value_or("") : "";
    const json& tokens = member(node, "special_tokens");
    const json& entry = tokens.is_object() ? member(tokens, name.c_str()) : tokens;
    const json& ids = entry.is_object() ? member(entry, "ids") : entry;
    if (!ids.is_array())
      refuse_file(where, "post_processor.special_tokens",
                  fmt::format("no ids for {}", in_quotes(name)));
    for (const json& id : ids)
      (seen_text ? parts.suffix : parts.prefix).push_back(id_of(id, where, [] {
        return "post_processor";
      }));
  }
  if (!seen_text) refuse_model(where, "post_processor without the text", kHint);
}

void read_post_processor(const json& node, TokenizerParts& parts, const std::string& where,
                         bool inside_sequence = false) {
  const std::string type = type_of(node);
  if (node.is_null() || type == "ByteLevel") return;  // ByteLevel moves offsets only
  if (type == "TemplateProcessing") {
    if (!parts.prefix.empty() || !parts.suffix.empty())
      refuse_model(where, "two templates in post_processor", kHint);
    read_template(node, parts, where);
  } else if (type == "Sequence" && !inside_sequence && member(node, "processors").is_array()) {
    for (const json& step : node["processors"]) read_post_processor(step, parts, where, true);
  } else {
    refuse_model(where, fmt::format("post_processor {} is not supported", in_quotes(type)), kHint);
  }
}

}  // namespace

TokenizerParts read_tokenizer_json(const std::string& text, const std::string& where) {
  const json root = parse_json(text, where, {.bytes = size_t{256} << 20, .depth = 32});
  if (!root.is_object()) refuse_file(where, "", "expected a JSON object");
  TokenizerParts parts;
  const json& normalizer = member(root, "normalizer");
  if (const std::string type = type_of(normalizer); type == "NFC") {
    parts.nfc = true;
  } else if (!normalizer.is_null()) {
    const bool sentencepiece =
        type == "Prepend" || type == "Replace" || type == "Precompiled" || type == "Sequence";
    refuse_model(
        where,
        fmt::format("normalizer {}{} is not supported{}", in_quotes(type),
                    sentencepiece ? " (SentencePiece style)" : "", sentencepiece ? " for now" : ""),
        kHint);
  }
  read_model(member(root, "model"), parts, where);
  parts.rule = pretokenizer_rule(member(root, "pre_tokenizer"), where);
  if (const std::string type = type_of(member(root, "decoder")); type != "ByteLevel")
    refuse_model(where, fmt::format("decoder {} is not supported", in_quotes(type)), kHint);
  read_added(member(root, "added_tokens"), parts, where);
  read_post_processor(member(root, "post_processor"), parts, where);
  return parts;
}

}  // namespace flashmorph
