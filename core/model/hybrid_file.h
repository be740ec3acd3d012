// SPDX-License-Identifier: Apache-2.0
// The file of a hybrid, hybrid.safetensors: what differs from the teacher, and what it is.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/model/hybrid_model.h"

namespace flashmorph {

/// What the file says about itself. Metadata keys: format "flashmorph-hybrid", version, plan,
/// train_part, branches (JSON list, one entry a layer, null for full ones), and whatever the writer
/// adds: teacher, teacher_config_sha256, teacher_weights_sha256, data_sha256, run_uuid, stage,
/// steps, tokens, seed.
struct HybridFileInfo {
  LayerPlan plan;
  TrainPart part = TrainPart::all;
  std::vector<BranchOptions> branches;  ///< [L]; entries of full layers are defaults
  std::map<std::string, std::string> metadata;
};

/// Writes atomically: float32 values of every tensor that trains and of every branch. The rest is
/// the teacher's.
void save_hybrid(const std::filesystem::path& path, const HybridModel& hybrid,
                 const std::map<std::string, std::string>& metadata);
/// Reads the header alone. Throws Error(not_found, bad_file, file_too_new).
HybridFileInfo hybrid_file_info(const std::filesystem::path& path);
/// The hybrid over its teacher. part: what may train from now on; default: as the file says. Throws
/// as above, and Error(bad_file) naming a tensor that is missing or too many. Whether the teacher
/// is the right one, load_hybrid of core/jobs checks by hash.
HybridModel read_hybrid(const std::filesystem::path& path, std::shared_ptr<const Teacher> teacher,
                        std::optional<TrainPart> part = std::nullopt);

/// The hybrid at the start of distilling: teacher weights in the plan's full layers, in the others
/// the branches of a file that `align` wrote (MorphModel::save_branches); only those are read.
/// Throws Error(bad_file, not_found, plan_impossible).
HybridModel hybrid_of_branches(const std::filesystem::path& path,
                               std::shared_ptr<const Teacher> teacher, const LayerPlan& plan,
                               TrainPart part);

}  // namespace flashmorph
