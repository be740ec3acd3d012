// SPDX-License-Identifier: Apache-2.0
#include "core/load/checkpoint_hashes.h"

#include <algorithm>

#include "core/load/sha256.h"
#include "core/load/text.h"

namespace flashmorph {

CheckpointHashes checkpoint_hashes(const GgufFile& file) {
  Sha256 sum;
  for (const auto& [key, raw] : file.contents().raw) {
    if (!key.starts_with("tokenizer.")) continue;
    sum.update(key);
    sum.update(raw);
  }
  return {sha256_hex(file.bytes().first(
              std::min<size_t>(file.contents().data_offset, file.bytes().size()))),
          sum.hex()};
}

CheckpointHashes checkpoint_hashes(const HfDirectory& directory,
                                   const std::filesystem::path& path) {
  constexpr size_t kMaxTokenizer = size_t{256} << 20;  // bytes
  const auto tokenizer = path / "tokenizer.json";
  std::error_code ignored;
  return {sha256_hex(directory.config_text()), std::filesystem::exists(tokenizer, ignored)
                                                   ? sha256_hex(read_text(tokenizer, kMaxTokenizer))
                                                   : std::string()};
}

CheckpointHashes checkpoint_hashes(const std::filesystem::path& model) {
  return std::filesystem::is_directory(model) ? checkpoint_hashes(HfDirectory(model), model)
                                              : checkpoint_hashes(GgufFile(model));
}

}  // namespace flashmorph
