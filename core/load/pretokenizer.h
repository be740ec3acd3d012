// SPDX-License-Identifier: Apache-2.0
// Cuts text into the pieces that byte-pair encoding works on, by one of four known rules (PCRE2
// with JIT).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace flashmorph {

enum class PreTokenizerRule {
  smollm,  ///< digits one by one, then GPT-2's pattern
  qwen2,   ///< Qwen2, 2.5, 3: digits one by one, contractions in any case
  llama3,  ///< as qwen2 with digits in runs of one to three
  qwen35,  ///< as qwen2 with combining marks counted as letters
};

/// The rule of a tokenizer.json's "pre_tokenizer" tree. Throws Error(load, unsupported_model)
/// naming the node or the pattern that is none of ours: patterns are compared, never run.
PreTokenizerRule pretokenizer_rule(const nlohmann::json& tree, const std::string& where);

/// The rule of a GGUF file's tokenizer.ggml.pre: smollm, qwen2, qwen35, llama-bpe. Throws as above
/// for any other.
PreTokenizerRule pretokenizer_rule(std::string_view gguf_pre, const std::string& where);

/// One compiled rule. Character classes are those of Unicode 14 (PCRE2 10.42); white space is
/// Unicode's White_Space.
class PreTokenizer {
 public:
  explicit PreTokenizer(PreTokenizerRule rule);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;

  /// Match memory, one per thread.
  class Scratch {
   public:
    explicit Scratch(const PreTokenizer& owner);
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

   private:
    friend class PreTokenizer;
    struct Memory;
    std::unique_ptr<Memory> memory_;
  };

  /// Calls `piece` for every piece of `text` (valid UTF-8), in order; nothing is lost between
  /// pieces. Throws Error(load, bad_request) when matching passes its limits.
  void split(std::string_view text, Scratch& scratch,
             const std::function<void(std::string_view)>& piece) const;

  PreTokenizerRule rule() const { return rule_; }

 private:
  struct Code;
  PreTokenizerRule rule_;
  std::unique_ptr<Code> code_;
};

}  // namespace flashmorph
