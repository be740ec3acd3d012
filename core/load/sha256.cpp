// SPDX-License-Identifier: Apache-2.0
#include "core/load/sha256.h"

#include "core/load/file_map.h"

namespace flashmorph {

std::string sha256_file(const std::filesystem::path& path) {
  constexpr size_t kPiece = size_t{16} << 20;
  const FileMap map(path);
  Sha256 sum;
  for (size_t at = 0; at < map.bytes().size(); at += kPiece) {
    const size_t size = std::min(kPiece, map.bytes().size() - at);
    sum.update(map.bytes().subspan(at, size));
    map.release(at, size);
  }
  return sum.hex();
}

}  // namespace flashmorph
