// SPDX-License-Identifier: Apache-2.0
// A GGUF v3 file: typed metadata and tensors, every count and range checked before it is believed.
// No Torch.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/load/file_map.h"
#include "core/load/gguf_blocks.h"

namespace flashmorph {

/// Value types of the format, by number.
enum class GgufKind : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};

/// An array as it lies in the file: checked, decoded when asked for.
struct GgufArray {
  GgufKind kind = GgufKind::u8;
  uint64_t count = 0;
  std::span<const std::byte> bytes;
};

/// Integers keep their sign, a float is the shortest decimal that gives the same float32 back.
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray>;

struct GgufTensor {
  const GgufType* type = nullptr;
  std::vector<int64_t> shape;  ///< Hugging Face's order: rows first
  std::span<const std::byte> bytes;
  int64_t numbers() const;  ///< product of shape
};

/// The parsed contents; spans and string views point into the bytes it was read from.
struct GgufContents {
  std::map<std::string, GgufValue> metadata;
  std::map<std::string, std::span<const std::byte>>
      raw;  ///< type and value of each key as they lie in the file
  std::map<std::string, GgufTensor> tensors;
  uint64_t data_offset = 0;
  uint64_t alignment = 32;
};

/// Reads header, metadata and tensor list of a whole file. Throws Error("load", bad_file) naming
/// where and the key or tensor; (unsupported_model) for other versions, big-endian files and block
/// types we do not read.
GgufContents parse_gguf(std::span<const std::byte> file, const std::string& where);

class GgufFile {
 public:
  /// Maps and parses; throws as parse_gguf. A part of a split file is refused.
  explicit GgufFile(const std::filesystem::path& path);
  /// The same from bytes that outlive this; where: name for the sentences.
  GgufFile(std::span<const std::byte> bytes, std::string where);

  const std::string& where() const { return where_; }
  const std::map<std::string, GgufValue>& metadata() const { return contents_.metadata; }
  const std::map<std::string, GgufTensor>& tensors() const { return contents_.tensors; }
  const GgufContents& contents() const { return contents_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  /// Metadata by key; absent is none, a value of another kind is refused by name.
  std::optional<int64_t> integer(const std::string& key) const;
  std::optional<double> number(const std::string& key) const;
  std::optional<bool> boolean(const std::string& key) const;
  std::optional<std::string> text(const std::string& key) const;
  /// Arrays of at most max_count entries, decoded.
  std::optional<std::vector<std::string>> texts(const std::string& key,
                                                uint64_t max_count = uint64_t{1} << 23) const;
  std::optional<std::vector<int64_t>> integers(const std::string& key,
                                               uint64_t max_count = uint64_t{1} << 23) const;
  std::optional<std::vector<double>> numbers(const std::string& key,
                                             uint64_t max_count = uint64_t{1} << 23) const;

  /// Numbers first..first+out.size()-1 of a tensor (row-major), as float32. first and out.size():
  /// multiples of the block.
  void dequantize(const GgufTensor& tensor, int64_t first, std::span<float> out) const;
  /// All numbers of a tensor. Throws Error(bad_file) when there is none of that name.
  std::vector<float> dequantize(const std::string& name) const;

  /// Drops a tensor's pages from memory (they are read again when needed).
  void release(const GgufTensor& tensor, int64_t first, int64_t count) const;

 private:
  const GgufValue* find(const std::string& key) const;
  const GgufArray* find_array(const std::string& key, uint64_t max_count) const;
  [[noreturn]] void refuse(const std::string& key, const std::string& reason) const;

  std::optional<FileMap> map_;
  std::span<const std::byte> bytes_;
  std::string where_;
  GgufContents contents_;
};

}  // namespace flashmorph
