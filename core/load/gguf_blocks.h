// SPDX-License-Identifier: Apache-2.0
// Block types of GGUF tensors and their decoding to float32, equal to the reference bit for bit. No
// Torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace flashmorph {

/// One way to store numbers: blocks of `elements` numbers in `bytes` bytes.
struct GgufType {
  uint32_t id;
  const char* name;  ///< as Q4_K
  int64_t elements, bytes;
  /// Decodes `blocks` blocks from in to out (elements each).
  void (*decode)(const std::byte* in, int64_t blocks, float* out);
};

/// The type of an id, null for one we do not read.
const GgufType* gguf_type(uint32_t id);

/// Name of an id, also of the types we know only by name; "type 99" otherwise.
std::string gguf_type_name(uint32_t id);

/// Decodes whole blocks. in: a multiple of type.bytes; out: room for as many blocks of
/// type.elements.
void decode_gguf_blocks(const GgufType& type, std::span<const std::byte> in, std::span<float> out);

}  // namespace flashmorph
