// SPDX-License-Identifier: Apache-2.0
// The pipeline that a GGUF file only names by its `pre`, written out as tokenizer.json.
#include <fmt/format.h>

#include "core/export/tokenizer_files.h"

namespace flashmorph {

namespace {

using nlohmann::json;

json byte_level(bool regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", regex}};
}

json pre_tokenizer_of(PreTokenizerRule rule) {
  if (rule == PreTokenizerRule::smollm)
    return {
        {"type", "Sequence"},
        {"pretokenizers", {{{"type", "Digits"}, {"individual_digits", true}}, byte_level(true)}}};
  const std::string marks = rule == PreTokenizerRule::qwen35 ? R"(\p{M})" : "";
  const std::string letters = marks.empty() ? R"(\p{L}+)" : R"([\p{L}\p{M}]+)";
  const std::string digits = rule == PreTokenizerRule::llama3 ? R"(\p{N}{1,3})" : R"(\p{N})";
  const std::string pattern = R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?)" + letters + "|" +
                              digits + R"(| ?[^\s\p{L})" + marks +
                              R"(\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
  return {{"type", "Sequence"},
          {"pretokenizers",
           {{{"type", "Split"},
             {"pattern", {{"Regex", pattern}}},
             {"behavior", "Isolated"},
             {"invert", false}},
            byte_level(false)}}};
}

json bos_processor(const std::string& bos, int64_t id) {
  const json first{{"SpecialToken", {{"id", bos}, {"type_id", 0}}}},
      a{{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const json second{{"SpecialToken", {{"id", bos}, {"type_id", 1}}}},
      b{{"Sequence", {{"id", "B"}, {"type_id", 1}}}};
  return {{"type", "TemplateProcessing"},
          {"single", {first, a}},
          {"pair", {first, a, second, b}},
          {"special_tokens", {{bos, {{"id", bos}, {"ids", {id}}, {"tokens", {bos}}}}}}};
}

}  // namespace

std::string tokenizer_json_of(const GgufTokenizerFields& fields, const std::string& where) {
  const TokenizerParts parts = read_tokenizer_gguf(fields, where);
  json added = json::array(), vocabulary = json::object(), merges = json::array();
  for (const AddedToken& token : parts.added)
    added.push_back({{"id", token.id},
                     {"content", token.content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", token.special}});
  for (size_t i = 0; i < fields.tokens.size(); ++i) vocabulary[fields.tokens[i]] = i;
  for (const auto& [left, right] : parts.merges) merges.push_back({left, right});
  json out{{"version", "1.0"},
           {"truncation", nullptr},
           {"padding", nullptr},
           {"added_tokens", added},
           {"normalizer", parts.nfc ? json{{"type", "NFC"}} : json()},
           {"pre_tokenizer", pre_tokenizer_of(parts.rule)},
           {"post_processor", nullptr},
           {"decoder", byte_level(true)},
           {"model",
            {{"type", "BPE"},
             {"dropout", nullptr},
             {"unk_token", nullptr},
             {"continuing_subword_prefix", nullptr},
             {"end_of_word_suffix", nullptr},
             {"fuse_unk", false},
             {"byte_fallback", false},
             {"ignore_merges", parts.bpe.ignore_merges},
             {"vocab", vocabulary},
             {"merges", merges}}}};
  if (!parts.prefix.empty()) {
    const auto bos = static_cast<size_t>(parts.prefix.front());
    out["post_processor"] = bos_processor(fields.tokens.at(bos), parts.prefix.front());
  }
  return out.dump(1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace flashmorph
