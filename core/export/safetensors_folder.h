// SPDX-License-Identifier: Apache-2.0
// The weights of an export: one or several safetensors files, written in shards of bounded size and
// read back.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/export/export_target.h"

namespace flashmorph {

/// Writes model.safetensors, or model-0000N-of-0000M.safetensors with model.safetensors.index.json
/// when the tensors take more than max_shard_bytes (a tensor larger than that has a shard of its
/// own). Makes one tensor at a time. told: bytes written so far and in all, between tensors; it may
/// throw to stop. Throws Error(export_refused) naming a tensor that is not finite once rounded,
/// Error(disk_full).
void write_weights(const std::filesystem::path& folder, const std::vector<TargetTensor>& tensors,
                   at::ScalarType dtype, int64_t max_shard_bytes,
                   const std::function<void(int64_t, int64_t)>& told);

/// All tensors of a folder, each read when it is asked for. Throws Error(bad_file) when index and
/// files disagree.
LazyTensors read_weights(const std::filesystem::path& folder);

}  // namespace flashmorph
