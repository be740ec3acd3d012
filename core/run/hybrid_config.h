// SPDX-License-Identifier: Apache-2.0
// hybrid_config.json: the plan and where it came from, beside every export (formats 7).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/run/budget_solver.h"
#include "core/run/layer_plan.h"

namespace flashmorph {

constexpr int kHybridMajor = 1, kHybridMinor = 0;

struct HybridTeacher {
  std::string name, config_sha256, weights_sha256, tokenizer_sha256;
};
struct HybridBranch {
  std::string kind;
  int heads = 0, head_dim = 0;
  nlohmann::json options = nlohmann::json::object();
  std::optional<std::vector<double>> slopes;
};
struct HybridSelection {
  std::string method;
  nlohmann::json options = nlohmann::json::object();
  std::optional<std::vector<double>> score, gates;  ///< [L]
  std::optional<double> window;                     ///< share of steps the score averages over
  uint64_t seed = 0;
  std::string data_sha256;
  int64_t tokens = 0;
  std::string run_uuid;
  uint64_t run_revision = 0;
};
struct HybridStage {
  std::string stage;  ///< align, select, distil, finetune
  int64_t tokens = 0, steps = 0;
  uint64_t seed = 0;
  std::string data_sha256;
  nlohmann::json unknown = nlohmann::json::object();
};
struct HybridTarget {
  std::string name, dtype;
  bool norm_rescaled = false;
  double norm_max_rel_error = 0;
  int64_t count = 0;  ///< tensors
};
struct HybridLint {
  std::string target, level, rule, message;
  nlohmann::json unknown = nlohmann::json::object();
};
struct HybridMadeWith {
  std::string engine, torch, device, command, utc;
};

struct HybridConfig {
  HybridTeacher teacher;
  LayerPlan plan;
  std::vector<Lock> locks;  ///< [L] or empty: all free
  HybridBranch branch;
  HybridSelection selection;
  std::vector<HybridStage> training;
  HybridTarget target;
  std::vector<HybridLint> lint;
  HybridMadeWith made_with;
  nlohmann::json unknown = nlohmann::json::object();  ///< keys of the file that this version does
                                                      ///< not know, kept on rewrite
};

/// Sorted keys, two spaces of indentation, floats with 9 digits, non-finite numbers null; paths in
/// teacher.name are cut to their last component.
std::string write_hybrid_config(const HybridConfig& config);
/// Gives the plan back exactly. Throws Error(file_too_new) naming both versions, Error(bad_file)
/// naming the field.
HybridConfig parse_hybrid_config(const std::string& json_text, const std::string& where);

/// The same with files; writing is atomic.
void save_hybrid_config(const std::filesystem::path& path, const HybridConfig& config);
HybridConfig load_hybrid_config(const std::filesystem::path& path);

}  // namespace flashmorph
