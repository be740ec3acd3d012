// SPDX-License-Identifier: Apache-2.0
// The loaded model between jobs: teacher, and the branches that came from a file. Loaded and
// unloaded by the worker alone; anyone may read what it is.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include <nlohmann/json.hpp>

#include "core/jobs/session.h"
#include "core/run/event.h"
#include "core/run/run_config.h"

namespace flashmorph {

struct ModelInfo {
  std::string state = "unloaded";  ///< unloaded, loading, loaded
  std::string path, name, device, dtype, quantization;
  std::string
      branches;  ///< newest file of aligned branches, which starts fall back on; may be empty
  int layers = 0;
  int64_t bytes = 0;  ///< of the weights in memory

  nlohmann::json to_json() const;
};

class ModelHolder {
 public:
  explicit ModelHolder(std::function<void(const ModelStateEvent&)> on_state);
  ~ModelHolder();

  ModelInfo info() const;
  at::Device device() const;  ///< of the loaded model, else the CPU

  /// The loaded session if it is of this model, device and dtype; else the old one goes and this
  /// one comes. Throws as Session, parse_device, parse_dtype; then nothing is loaded.
  Session& load(const std::string& model, const std::string& device, const std::string& dtype);
  /// Branches of a branches.safetensors, read again only if path or file have changed.
  void use_branches(const std::filesystem::path& file);
  /// The session's branches are no longer those of a file: the next use_branches reads it again.
  void forget_branches();
  /// They are those of this file now: a job has trained and saved them.
  void branches_are(const std::filesystem::path& file);
  /// Bytes that came free.
  int64_t unload();

 private:
  void tell(const std::string& state);

  const std::function<void(const ModelStateEvent&)> on_state_;
  std::unique_ptr<Session> session_;
  std::string branches_key_;
  mutable std::mutex mutex_;  // of info_
  ModelInfo info_;
};

}  // namespace flashmorph
