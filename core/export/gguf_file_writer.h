// SPDX-License-Identifier: Apache-2.0
// GGUF v3 out: typed metadata, then tensors one by one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/export/lazy_tensor.h"

namespace flashmorph {

/// Storage of one tensor.
enum class GgufStorage : uint32_t { f32 = 0, f16 = 1, q8_0 = 8, bf16 = 30 };

/// Bytes of whole blocks of 32 float32 numbers as Q8_0: d = max|x| / 127 as float16, then round(x /
/// d).
std::string encode_q8_0(const float* values, int64_t count);

class GgufFileWriter {
 public:
  void text(const std::string& key, const std::string& value);
  void u32(const std::string& key, uint32_t value);
  void f32(const std::string& key, double value);
  void boolean(const std::string& key, bool value);
  void texts(const std::string& key, const std::vector<std::string>& values);
  void i32s(const std::string& key, const std::vector<int32_t>& values);
  void booleans(const std::string& key, const std::vector<bool>& values);
  /// value: shape as in Hugging Face's files, rows first; made in write(), one at a time. q8_0
  /// wants rows that are multiples of 32.
  void tensor(const std::string& name, LazyTensor value, GgufStorage storage);

  /// Writes atomically. told: bytes of tensor data so far and in all; may throw. Throws
  /// Error(export_refused) naming a tensor that is not finite once rounded, Error(disk_full).
  void write(const std::filesystem::path& path,
             const std::function<void(int64_t, int64_t)>& told) const;
  size_t tensors() const { return tensors_.size(); }

 private:
  struct Entry {
    std::string name;
    LazyTensor value;
    GgufStorage storage;
  };
  void key(const std::string& key, uint32_t kind);
  std::string metadata_;
  uint64_t keys_ = 0;
  std::vector<Entry> tensors_;
};

}  // namespace flashmorph
