// SPDX-License-Identifier: Apache-2.0
// A loaded model with everything jobs need beside it: tokenizer, branches, device. Stays loaded between jobs.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "core/load/tokenizer.h"
#include "core/model/morph_model.h"

namespace flashmorph {

/// "auto" (cuda:0 if there is one, else cpu), "cpu", "cuda" or "cuda:N". Throws Error(bad_request) saying why a GPU cannot be used.
at::Device parse_device(const std::string& text);
/// "auto" (bfloat16 on a GPU, float32 on the CPU), "float32" or "bfloat16".
at::ScalarType parse_dtype(const std::string& text, at::Device device);
std::string dtype_name(at::ScalarType dtype);

class Session {
 public:
  /// Loads teacher and tokenizer. model: Hugging Face directory or .gguf file.
  Session(const std::filesystem::path& model, at::Device device, at::ScalarType dtype);

  const std::filesystem::path& path() const { return path_; }
  const Teacher& teacher() const { return *teacher_; }
  std::shared_ptr<const Teacher> teacher_ptr() const { return teacher_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }
  const std::string& quantization() const { return quantization_; }
  at::Device device() const { return teacher_->device(); }

  /// Fresh branches (one options entry, or one per layer); replaces those there were.
  MorphModel& make_branches(std::vector<BranchOptions> options, uint64_t seed);
  /// Branches from a branches.safetensors; refuses those aligned to another teacher.
  MorphModel& load_branches(const std::filesystem::path& file);
  /// Refuses a file (of branches, of a hybrid) whose metadata names another teacher.
  void check_teacher_of(const std::filesystem::path& file) const;
  bool has_branches() const { return model_ != nullptr; }
  /// Throws Error(no_model) with the next step when there are no branches.
  MorphModel& model();
  const MorphModel& model() const;

  /// name, sizes and hashes for /model/json of the run file; hashes are computed once, when first asked for.
  nlohmann::json model_json() const;
  const std::string& config_sha256() const;
  const std::string& weights_sha256() const;
  const std::string& tokenizer_sha256() const;

 private:
  std::filesystem::path path_;
  std::shared_ptr<const Teacher> teacher_;
  Tokenizer tokenizer_;
  std::string quantization_;
  std::unique_ptr<MorphModel> model_;
  mutable std::optional<std::string> config_sha256_, weights_sha256_, tokenizer_sha256_;
};

}  // namespace flashmorph
