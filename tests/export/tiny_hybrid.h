// SPDX-License-Identifier: Apache-2.0
// Small random hybrids for export tests: teacher weights exact in bfloat16, branches with every
// parameter moved.
#pragma once

#include "core/export/export_job.h"
#include "tests/load/temporary_folder.h"
#include "tests/support/tiny_model.h"

namespace flashmorph::testing {

/// Weights of M(plan); the teacher's values and the branches' are rounded to `exact`.
inline HybridWeights tiny_hybrid(const TinyShape& shape, const LayerPlan& plan,
                                 BranchOptions options, at::ScalarType exact = at::kBFloat16,
                                 uint64_t seed = 1) {
  Checkpoint checkpoint = tiny_checkpoint(shape, seed);
  for (auto& [name, value] : checkpoint.tensors) value = value.to(exact).to(at::kFloat);
  MorphModel model(std::make_shared<const Teacher>(std::move(checkpoint)), {options}, seed);
  at::Generator generator = at::detail::createCPUGenerator(seed + 1);
  for (int l = 0; l < model.layers(); ++l)
    for (const auto& [name, value] : model.branch(l).parameters()) {
      const at::Tensor noise = at::empty(value.sizes(), at::kFloat).normal_(0.0, 1.0, generator);
      const double width = value.dim() > 1 && !name.ends_with("conv1d.weight")
                               ? static_cast<double>(value.size(1))
                               : 25.0;
      model.branch(l).load(name, (value + 0.5 * noise / std::sqrt(width)).to(exact).to(at::kFloat));
    }
  return hybrid_weights(model, plan);
}

inline ExportOutcome export_to(const HybridWeights& weights, ExportTarget target, ExportDtype dtype,
                               const std::filesystem::path& path,
                               int64_t shard = kDefaultShardBytes,
                               const std::filesystem::path& teacher = {}) {
  return export_hybrid(weights, teacher, {}, target, dtype, path, shard, nullptr, StopFlag(),
                       [](const Progress&) {});
}

}  // namespace flashmorph::testing
