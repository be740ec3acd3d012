// SPDX-License-Identifier: Apache-2.0
// What a continued align run needs, as a safetensors file: branch parameters, Adam moments, step.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

namespace flashmorph {

struct AlignCheckpoint {
  std::string options, branches;  ///< JSON; both must agree for a run to go on
  std::vector<std::pair<std::string, at::Tensor>> parameters;  ///< "layers.L.NAME", float32
  std::vector<at::Tensor> first, second;  ///< moments, in the order of the parameters
  std::vector<double> error_before;
  int64_t step = 0;
  bool fitted = false;
  double seconds = 0;

  /// Atomic. Throws Error(disk_full, bad_file).
  void write(const std::string& path) const;
  /// Tensors are copies on the CPU. Throws Error(bad_file) when something is missing or does not
  /// fit `wanted`.
  static AlignCheckpoint read(const std::string& path, const AlignCheckpoint& wanted);
};

}  // namespace flashmorph
