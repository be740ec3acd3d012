// SPDX-License-Identifier: Apache-2.0
// What names a model beside its weights, without loading it.
#pragma once

#include <filesystem>
#include <string>

#include "core/load/gguf.h"
#include "core/load/hf_directory.h"

namespace flashmorph {

struct CheckpointHashes {
  std::string config;  ///< SHA-256 of config.json; of a GGUF, of everything before its data
  std::string
      tokenizer;  ///< of tokenizer.json ("" when absent); of a GGUF, of its tokenizer.* keys
};
CheckpointHashes checkpoint_hashes(const GgufFile& file);
CheckpointHashes checkpoint_hashes(const HfDirectory& directory, const std::filesystem::path& path);
/// Of a directory or a .gguf file. Throws as inspect_checkpoint.
CheckpointHashes checkpoint_hashes(const std::filesystem::path& model);

}  // namespace flashmorph
