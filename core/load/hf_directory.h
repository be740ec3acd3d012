// SPDX-License-Identifier: Apache-2.0
// A Hugging Face model directory: config.json and one or more safetensors files, checked against
// the tensor table.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "core/load/model_config.h"
#include "core/load/safetensors.h"

namespace flashmorph {

class HfDirectory {
 public:
  /// Reads config.json, the index of the shards and every header; checks each tensor's name, shape
  /// and dtype. Throws Error("load", ...) naming file, field or tensor.
  explicit HfDirectory(const std::filesystem::path& path);

  const ModelConfig& config() const { return config_; }
  const std::string& config_text() const { return config_text_; }
  /// The safetensors files, in name order.
  std::vector<std::filesystem::path> weight_files() const;
  /// A tensor of the table, as SafetensorsFile::tensor.
  at::Tensor tensor(const std::string& name, at::ScalarType dtype, at::Device device) const;
  /// Refuses a tied model whose file holds a head that is not the embedding (compares the bytes).
  void check_tied_head() const;

 private:
  void open_files();
  void open_shards(const std::filesystem::path& index);
  void check_tensors();

  std::filesystem::path path_;
  std::string config_text_;
  ModelConfig config_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, size_t> file_of_;  // tensor name to index in files_
};

}  // namespace flashmorph
