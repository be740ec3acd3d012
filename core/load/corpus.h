// SPDX-License-Identifier: Apache-2.0
// Text as token sequences: files and folders of the user, or generated stories. Reading is seeded
// and repeatable.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "core/load/tokenizer.h"

namespace flashmorph {

/// Text without end for training and evaluation. Safe to call from several threads.
class TextSource {
 public:
  virtual ~TextSource() = default;

  /// Exactly `tokens` consecutive tokens from a place drawn from (seed, index): a pure function of
  /// both. At the end of the data it goes on at the beginning. Special tokens inside the text are
  /// plain text.
  virtual TokenIds take(uint64_t seed, uint64_t index, int64_t tokens) const = 0;

  /// Tokens there are; see size_is_exact(). Stories: the largest int64.
  virtual int64_t size() const = 0;
  virtual bool size_is_exact() const { return true; }

  /// Names the data in run files and exports: 64 hexadecimal digits.
  virtual std::string data_sha256() const = 0;

  /// The text that training takes, and the text it never takes, for figures of unseen text. None
  /// where the text cannot be divided: then another seed draws other places of the same text.
  virtual std::unique_ptr<TextSource> training_part() const { return nullptr; }
  virtual std::unique_ptr<TextSource> held_out_part() const { return nullptr; }
};

/// Files .txt, .md and .jsonl (field "text" of each line), or folders of them (recursive, sorted by
/// path; links to folders are followed once). A .txt or .md file is one document, a line of .jsonl
/// is one. Documents end with eos, or with a blank line when the tokenizer has none. A byte order
/// mark is dropped, CRLF becomes LF, ill-formed UTF-8 is read as U+FFFD. Memory is bounded: text
/// stays on disk and is tokenized in blocks of about 64 KiB, cut where no token spans, of which up to
/// 33.5M tokens (256 MiB) are kept.
class Corpus : public TextSource {
 public:
  /// Scans the files once (hash, block bounds, every line of .jsonl). Throws Error(load):
  /// not_found, or bad_file naming file and line for binary data, UTF-16, lines that are no JSON
  /// object with a text, or when there is no text at all.
  Corpus(const std::filesystem::path& path, const Tokenizer& tokenizer);
  ~Corpus() override;

  TokenIds take(uint64_t seed, uint64_t index, int64_t tokens) const override;
  /// Counted for up to 16 MiB (some seconds, once); above, scaled from 64 blocks spread evenly.
  int64_t size() const override;
  bool size_is_exact() const override;
  /// SHA-256 of the files' bytes, one after the other (of one file: what sha256sum prints).
  std::string data_sha256() const override;
  /// From 20 blocks on: every twentieth block is held out, wherever it lies. They tokenize and keep
  /// blocks together with the whole; size() and data_sha256() are those of the whole.
  std::unique_ptr<TextSource> training_part() const override;
  std::unique_ptr<TextSource> held_out_part() const override;

  int64_t bytes() const;  ///< of all files
  int64_t files() const;

 private:
  struct State;
  struct Part;
  Corpus(std::shared_ptr<State> state, std::shared_ptr<const Part> part);
  std::unique_ptr<TextSource> part(bool held_out) const;

  std::shared_ptr<State> state_;
  std::shared_ptr<const Part> part_;  // of the text: what take() draws from
};

/// Generated stories (core/load/story.h), endless, separated by a blank line.
class StoryCorpus : public TextSource {
 public:
  StoryCorpus(const Tokenizer& tokenizer, uint64_t seed) : tokenizer_(tokenizer), seed_(seed) {}

  TokenIds take(uint64_t seed, uint64_t index, int64_t tokens) const override;
  int64_t size() const override;
  /// SHA-256 of "flashmorph stories 1, seed N".
  std::string data_sha256() const override;

 private:
  Tokenizer tokenizer_;
  uint64_t seed_;
};

/// spec: a file, a folder, "story" (seed 0) or "story:SEED". Throws as Corpus does, or bad_request
/// for an odd seed.
std::unique_ptr<TextSource> open_text(const std::string& spec, const Tokenizer& tokenizer);

}  // namespace flashmorph
