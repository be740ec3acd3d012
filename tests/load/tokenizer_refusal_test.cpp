// SPDX-License-Identifier: Apache-2.0
// Unknown pieces of a pipeline are refused by name, damaged files by field; edits of one small
// valid tokenizer.
#include <gtest/gtest.h>

#include <functional>

#include <nlohmann/json.hpp>

#include "core/load/tokenizer.h"
#include "core/run/error.h"

namespace flashmorph {
namespace {

using nlohmann::json;

const char* const kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

json small() {
  return {{"added_tokens",
           {{{"id", 5}, {"content", "<end>"}, {"special", true}, {"normalized", false}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer",
           {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"},
               {"pattern", {{"Regex", kQwen2}}},
               {"behavior", "Isolated"},
               {"invert", false}},
              {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}}},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"model",
           {{"type", "BPE"},
            {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}, {"c", 3}, {"abc", 4}}},
            {"merges", {"a b", "ab c"}}}}};
}

TEST(TokenizerJson, BothSpellingsOfMerges) {
  json pairs = small();
  pairs["model"]["merges"] = json::array({json::array({"a", "b"}), json::array({"ab", "c"})});
  for (const json& file : {small(), pairs})
    EXPECT_EQ(Tokenizer::from_json(file.dump(), "t").encode("abcab<end>c!"),
              (TokenIds{4, 2, 5, 3}));
}

TEST(TokenizerJson, UnknownBytesGiveUnkWhenThereIsOne) {
  json file = small();
  file["model"]["vocab"]["<unk>"] = 6;
  file["model"]["unk_token"] = "<unk>";
  EXPECT_EQ(Tokenizer::from_json(file.dump(), "t").encode("axyb"), (TokenIds{0, 6, 6, 1}));
  file["model"]["fuse_unk"] = true;
  EXPECT_EQ(Tokenizer::from_json(file.dump(), "t").encode("axyb"), (TokenIds{0, 6, 1}));
  EXPECT_EQ(Tokenizer::from_json(small().dump(), "t").encode("axyb"),
            (TokenIds{2}));  // x, y vanish before merging
}

TEST(TokenizerJson, PostProcessorGoesAround) {
  json file = small();
  file["post_processor"] = json::parse(R"({"type": "Sequence", "processors": [{"type": "ByteLevel"},
    {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<end>"}}, {"Sequence": {"id": "A"}},
     {"SpecialToken": {"id": "<end>"}}], "special_tokens": {"<end>": {"id": "<end>", "ids": [5]}}}]})");
  const auto tokenizer = Tokenizer::from_json(file.dump(), "t");
  EXPECT_EQ(tokenizer.encode("c", {.add_special = true}), (TokenIds{5, 3, 5}));
  EXPECT_EQ(tokenizer.encode("c"), (TokenIds{3}));
}

struct Refusal {
  const char* name;
  std::function<void(json&)> edit;
  ErrorCode code;
  const char* word;  ///< must be in the sentence
};

class TokenizerJsonRefuses : public testing::TestWithParam<Refusal> {};

TEST_P(TokenizerJsonRefuses, ByName) {
  json file = small();
  GetParam().edit(file);
  try {
    Tokenizer::from_json(file.dump(), "tokenizer.json");
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), GetParam().code) << error.what();
    EXPECT_NE(error.message().find(GetParam().word), std::string::npos) << error.message();
    EXPECT_EQ(error.message().rfind("tokenizer.json", 0), 0u) << error.message();
  }
}

const auto kUnsupported = ErrorCode::unsupported_model;
const auto kBad = ErrorCode::bad_file;
json& step(json& f, int i) { return f["pre_tokenizer"]["pretokenizers"][static_cast<size_t>(i)]; }

INSTANTIATE_TEST_SUITE_P(
    All, TokenizerJsonRefuses,
    testing::Values(
        Refusal{"Unigram", [](json& f) { f["model"]["type"] = "Unigram"; }, kUnsupported,
                "SentencePiece"},
        Refusal{"WordPiece", [](json& f) { f["model"]["type"] = "WordPiece"; }, kUnsupported,
                "WordPiece"},
        Refusal{"ByteFallback", [](json& f) { f["model"]["byte_fallback"] = true; }, kUnsupported,
                "byte_fallback"},
        Refusal{"Dropout", [](json& f) { f["model"]["dropout"] = 0.1; }, kUnsupported, "dropout"},
        Refusal{"Suffix", [](json& f) { f["model"]["end_of_word_suffix"] = "</w>"; }, kUnsupported,
                "</w>"},
        Refusal{"Lowercase",
                [](json& f) {
                  f["normalizer"] = {{"type", "Lowercase"}};
                },
                kUnsupported, "Lowercase"},
        Refusal{"Prepend",
                [](json& f) {
                  f["normalizer"] = {{"type", "Prepend"}};
                },
                kUnsupported, "SentencePiece"},
        Refusal{"NoPreTokenizer", [](json& f) { f["pre_tokenizer"] = nullptr; }, kUnsupported,
                "pre_tokenizer"},
        Refusal{"Metaspace",
                [](json& f) {
                  f["pre_tokenizer"] = {{"type", "Metaspace"}};
                },
                kUnsupported, "Metaspace"},
        Refusal{"Punctuation",
                [](json& f) {
                  step(f, 0) = {{"type", "Punctuation"}};
                },
                kUnsupported, "Punctuation"},
        Refusal{"OtherPattern", [](json& f) { step(f, 0)["pattern"]["Regex"] = "(a+)+$"; },
                kUnsupported, "(a+)+$"},
        Refusal{"StringPattern",
                [](json& f) {
                  step(f, 0)["pattern"] = {{"String", " "}};
                },
                kUnsupported, "Split"},
        Refusal{"Removed", [](json& f) { step(f, 0)["behavior"] = "Removed"; }, kUnsupported,
                "Isolated"},
        Refusal{"Inverted", [](json& f) { step(f, 0)["invert"] = true; }, kUnsupported, "invert"},
        Refusal{"PrefixSpace", [](json& f) { step(f, 1)["add_prefix_space"] = true; }, kUnsupported,
                "add_prefix_space"},
        Refusal{"BothPatterns", [](json& f) { step(f, 1)["use_regex"] = true; }, kUnsupported,
                "use_regex"},
        Refusal{"DigitRuns",
                [](json& f) {
                  step(f, 0) = {{"type", "Digits"}, {"individual_digits", false}};
                },
                kUnsupported, "Digits"},
        Refusal{"ThreeSteps",
                [](json& f) {
                  f["pre_tokenizer"]["pretokenizers"].push_back({{"type", "Digits"}});
                },
                kUnsupported, "Digits"},
        Refusal{"Decoder",
                [](json& f) {
                  f["decoder"] = {{"type", "WordPiece"}};
                },
                kUnsupported, "WordPiece"},
        Refusal{"Roberta",
                [](json& f) {
                  f["post_processor"] = {{"type", "RobertaProcessing"}};
                },
                kUnsupported, "Roberta"},
        Refusal{"Lstrip", [](json& f) { f["added_tokens"][0]["lstrip"] = true; }, kUnsupported,
                "lstrip"},
        Refusal{"NoModel", [](json& f) { f.erase("model"); }, kBad, "model"},
        Refusal{"EmptyVocabulary", [](json& f) { f["model"]["vocab"] = json::object(); }, kBad,
                "vocab"},
        Refusal{"NegativeId", [](json& f) { f["model"]["vocab"]["a"] = -1; }, kBad, "\"a\""},
        Refusal{"HugeId", [](json& f) { f["model"]["vocab"]["a"] = 4000000000; }, kBad, "\"a\""},
        Refusal{"TextId", [](json& f) { f["model"]["vocab"]["a"] = "0"; }, kBad, "\"a\""},
        Refusal{"SameId", [](json& f) { f["model"]["vocab"]["c"] = 1; }, kBad, "two tokens"},
        Refusal{"OddMerge", [](json& f) { f["model"]["merges"][1] = "ab c d"; }, kBad, "merges[1]"},
        Refusal{"MergeOfUnknown", [](json& f) { f["model"]["merges"][1] = "b c"; }, kBad, "\"bc\""},
        Refusal{"AddedElsewhere", [](json& f) { f["added_tokens"][0]["content"] = "a"; }, kBad,
                "added_tokens"},
        Refusal{"AddedEmpty", [](json& f) { f["added_tokens"][0]["content"] = ""; }, kBad,
                "added_tokens"},
        Refusal{"AddedLong",
                [](json& f) { f["added_tokens"][0]["content"] = std::string(5000, 'x'); }, kBad,
                "added_tokens"},
        Refusal{"UnkMissing", [](json& f) { f["model"]["unk_token"] = "?"; }, kBad, "unk_token"},
        Refusal{"NotAnObject", [](json& f) { f = json::array(); }, kBad, "object"}),
    [](const auto& named) { return named.param.name; });

GgufTokenizerFields small_gguf() {
  return {.model = "gpt2",
          .pre = "qwen2",
          .tokens = {"a", "b", "ab", "<end>", "<tool>"},
          .token_types = {1, 1, 1, 3, 4},
          .merges = {"a b"},
          .bos = 3,
          .eos = 3,
          .pad = {},
          .add_bos = {}};
}

TEST(TokenizerGguf, ReadsTypesAndBos) {
  GgufTokenizerFields fields = small_gguf();
  auto tokenizer = Tokenizer::from_gguf(fields, "m.gguf");
  EXPECT_EQ(tokenizer.encode("ab<end><tool>"), (TokenIds{2, 3, 4}));
  EXPECT_EQ(tokenizer.encode("ab<tool>", {.specials_as_text = true, .add_special = true}),
            (TokenIds{2, 4}));
  EXPECT_EQ(tokenizer.decode(TokenIds{2, 3, 4}, false), "ab<tool>");
  fields.pre = "llama-bpe";  // bos by default
  EXPECT_EQ(Tokenizer::from_gguf(fields, "m.gguf").encode("ab", {.add_special = true}),
            (TokenIds{3, 2}));
  fields.add_bos = false;
  EXPECT_EQ(Tokenizer::from_gguf(fields, "m.gguf").encode("ab", {.add_special = true}),
            (TokenIds{2}));
}

TEST(TokenizerGguf, RefusesByName) {
  auto expect = [](const std::function<void(GgufTokenizerFields&)>& edit, const std::string& word) {
    GgufTokenizerFields fields = small_gguf();
    edit(fields);
    try {
      Tokenizer::from_gguf(fields, "m.gguf");
      ADD_FAILURE() << "accepted: " << word;
    } catch (const Error& error) {
      EXPECT_NE(error.message().find(word), std::string::npos) << error.message();
    }
  };
  expect([](auto& f) { f.model = "llama"; }, "SentencePiece");
  expect([](auto& f) { f.model = "bert"; }, "\"bert\"");
  expect([](auto& f) { f.pre = "deepseek-llm"; }, "\"deepseek-llm\"");
  expect([](auto& f) { f.pre.clear(); }, "tokenizer.ggml.pre");
  expect([](auto& f) { f.tokens.clear(); }, "tokenizer.ggml.tokens");
  expect([](auto& f) { f.token_types.pop_back(); }, "tokenizer.ggml.token_type");
  expect([](auto& f) { f.token_types[0] = 6; }, "token_type 6");
  expect([](auto& f) { f.tokens[1] = f.tokens[0]; }, "twice");
  expect([](auto& f) { f.merges[0] = "ab"; }, "tokenizer.ggml.merges[0]");
  expect([](auto& f) { f.merges[0] = "b a"; }, "\"ba\"");
  expect([](auto& f) { f.eos = 77; }, "77");
  expect(
      [](auto& f) {
        f.add_bos = true;
        f.bos.reset();
      },
      "bos_token_id");
}

}  // namespace
}  // namespace flashmorph
