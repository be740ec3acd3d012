// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE tokenizers of Hugging Face directories and GGUF files: text to ids and back, as
// `tokenizers` does it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/load/bpe.h"
#include "core/load/pretokenizer.h"

namespace flashmorph {

struct EncodeOptions {
  bool specials_as_text =
      false;  ///< special tokens inside the text are plain text (what a corpus reader wants)
  bool add_special = false;  ///< what the post-processor adds (Llama 3: bos in front)
};

/// A token cut out of the text before everything else.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false;
  bool normalized = false;  ///< looked for in normalized text
};

/// All a tokenizer consists of; the two readers below fill it.
struct TokenizerParts {
  Vocabulary vocabulary;  ///< of the BPE model: byte-level spelling to id
  std::vector<std::pair<std::string, std::string>> merges;
  BpeOptions bpe;
  std::vector<AddedToken> added;
  bool nfc = false;
  PreTokenizerRule rule = PreTokenizerRule::qwen2;
  TokenIds prefix, suffix;  ///< of the post-processor
  std::optional<int64_t> bos, eos, pad;
};

/// The keys tokenizer.ggml.* of a GGUF file.
struct GgufTokenizerFields {
  std::string model;  ///< "gpt2" is byte-level BPE
  std::string pre;    ///< smollm, qwen2, qwen35, llama-bpe
  std::vector<std::string> tokens;
  std::vector<int32_t>
      token_types;  ///< 1 normal, 3 special, 4 whole token but not special, 5 unused
  std::vector<std::string> merges;  ///< "a b"
  std::optional<int64_t> bos, eos, pad;
  std::optional<bool> add_bos;  ///< absent: true for llama-bpe only, as llama.cpp has it
};

class GgufFile;
/// The fields as a file has them. Throws Error(load, bad_file) when it has no tokenizer.
GgufTokenizerFields gguf_tokenizer_fields(const GgufFile& file);

/// Reads tokenizer.json. Truncation and padding entries are ignored (callers cut for themselves).
/// Throws Error(load): unsupported_model naming the piece of the pipeline that is not ours,
/// bad_file for damage.
TokenizerParts read_tokenizer_json(const std::string& text, const std::string& where);

/// Reads GGUF fields; throws as above.
TokenizerParts read_tokenizer_gguf(const GgufTokenizerFields& fields, const std::string& where);

/// Immutable and cheap to copy; every member may be called from several threads at once.
class Tokenizer {
 public:
  /// model: directory with tokenizer.json (bos and eos from tokenizer_config.json, else
  /// config.json), or a .gguf file.
  static Tokenizer load(const std::filesystem::path& model);
  static Tokenizer from_json(const std::string& text, const std::string& where);
  static Tokenizer from_gguf(const GgufTokenizerFields& fields, const std::string& where);
  explicit Tokenizer(TokenizerParts parts, const std::string& where);

  /// Ids of `text`. Ill-formed UTF-8 is read as U+FFFD; bytes the vocabulary lacks vanish unless it
  /// has an unk token. Throws Error(load, bad_request) for more than 1 GiB at once.
  TokenIds encode(std::string_view text, EncodeOptions options = {}) const;

  /// Text of `ids`; ids outside the vocabulary give nothing, ill-formed UTF-8 gives U+FFFD.
  std::string decode(std::span<const int64_t> ids, bool keep_specials = true) const;

  /// The bytes one id stands for (possibly part of a character); empty outside the vocabulary.
  std::string_view bytes_of(int64_t id) const;

  int64_t vocab_size() const;  ///< ids lie in [0, vocab_size)
  std::optional<int64_t> id_of(
      std::string_view piece) const;  ///< in the vocabulary's spelling ("Ġthe", "<|im_end|>")
  std::optional<int64_t> bos() const;
  std::optional<int64_t> eos() const;

 private:
  struct State;
  std::shared_ptr<const State> state_;
};

}  // namespace flashmorph
