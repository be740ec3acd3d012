// SPDX-License-Identifier: Apache-2.0
// A user's text files as a list of blocks that can be read one by one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace flashmorph {

struct CorpusFile {
  std::filesystem::path path;
  bool lines = false;  ///< .jsonl: every line is a document
  int64_t bytes = 0;
  std::filesystem::file_time_type written;
};

/// A stretch of one file: whole lines of .jsonl, or part of a document.
struct CorpusBlock {
  uint32_t file = 0;
  int64_t offset = 0, bytes = 0;
  int64_t line = 1;            ///< number of its first line (.jsonl)
  bool ends_document = false;  ///< of text files
};

struct CorpusIndex {
  std::vector<CorpusFile> files;
  std::vector<CorpusBlock> blocks;
  int64_t bytes = 0;
  std::string sha256;
};

/// The files behind a path: itself, or the .txt, .md and .jsonl files of a folder (see Corpus).
/// Throws Error(load).
std::vector<CorpusFile> list_corpus_files(const std::filesystem::path& path);

/// Reads every file once. Throws Error(load, bad_file) naming file and line.
CorpusIndex index_corpus(std::vector<CorpusFile> files);

/// Calls piece(text, ends_document) for each part of the block: valid UTF-8, LF line ends.
/// Throws Error(load, bad_file) when the file has changed since it was indexed.
void read_block(const CorpusIndex& index, const CorpusBlock& block,
                const std::function<void(std::string_view, bool)>& piece);

}  // namespace flashmorph
