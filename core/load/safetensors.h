// SPDX-License-Identifier: Apache-2.0
// safetensors files: read through a memory map, written whole or not at all.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "core/load/file_map.h"
#include "core/load/safetensors_header.h"

namespace flashmorph {

class SafetensorsFile {
 public:
  /// Maps the file and checks its whole header. Throws Error("load", not_found or bad_file) naming
  /// file and tensor.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return map_->path(); }
  const std::map<std::string, TensorEntry>& entries() const { return header_.entries; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  /// The tensor in place: it keeps the map alive and must not be written to. Misaligned data is
  /// copied. Throws Error(bad_file) when there is none of that name or its dtype has no
  /// counterpart.
  at::Tensor tensor(const std::string& name) const;

  /// The tensor in `dtype` on `device`: in place when neither differs, else converted piece by
  /// piece, and the pages of the file are let go. Never holds more than the result and a few
  /// megabytes.
  at::Tensor tensor(const std::string& name, at::ScalarType dtype, at::Device device) const;

  /// Lets the pages of a tensor go; they are read again when needed.
  void release(const std::string& name) const;

 private:
  const TensorEntry& entry(const std::string& name) const;
  at::Tensor piece(const TensorEntry& entry, int64_t first, int64_t count) const;  // flat
  std::shared_ptr<const FileMap> map_;
  SafetensorsHeader header_;
};

/// Writes path atomically (temporary file, fsync, rename). Tensors may live anywhere; names must
/// differ. metadata: `__metadata__`, {"format": "pt"} is added when absent. Throws Error:
/// disk_full, bad_file, bad_request.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, at::Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace flashmorph
