// SPDX-License-Identifier: Apache-2.0
// The weights of a hybrid straight from its files, each read when it is asked for.
#pragma once

#include <filesystem>
#include <vector>

#include "core/export/hybrid_weights.h"

namespace flashmorph {

/// Teacher and plan; in linear layers the branches of `aligned` (branches.safetensors), or every
/// tensor of `hybrid` (hybrid.safetensors) in place of the teacher's; both may be empty when every
/// layer is full. branches: their options, [L].
/// Float32, read from the files anew at every use. Throws Error(bad_file, bad_request) naming what
/// is missing or too many.
HybridWeights weights_of_files(const std::filesystem::path& model,
                               const std::filesystem::path& aligned,
                               const std::filesystem::path& hybrid, const LayerPlan& plan,
                               std::vector<BranchOptions> branches);

}  // namespace flashmorph
