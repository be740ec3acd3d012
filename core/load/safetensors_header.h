// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file, believed only after every range is checked. No Torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace flashmorph {

struct TensorEntry {
  std::string dtype;  ///< F32, F16, BF16, I64, ...
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  ///< bytes, from the start of the file
};

struct SafetensorsHeader {
  std::map<std::string, TensorEntry> entries;
  std::map<std::string, std::string> metadata;
  uint64_t data_offset = 0;  ///< first byte after the header
};

/// Bits of one element, 0 for a dtype we do not know.
int safetensors_dtype_bits(const std::string& dtype);

/// file: the bytes of the whole file, of which only the header is read. Refuses holes, overlaps, a
/// buffer shorter or longer than its tensors, overflowing shapes, unknown dtypes, repeated names.
/// Throws Error("load", bad_file) naming where and the tensor.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           const std::string& where);

/// The first bytes of a safetensors file whose header is this JSON: its length in 8 bytes, least
/// first, then the text, filled up with blanks so that the data begins at a multiple of 8.
std::string safetensors_head(std::string json);

}  // namespace flashmorph
