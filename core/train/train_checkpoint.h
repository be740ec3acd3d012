// SPDX-License-Identifier: Apache-2.0
// What a continued distill or finetune run needs, as a safetensors file: masters, Adam moments,
// counts.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

namespace flashmorph {

struct TrainCheckpoint {
  std::string
      identity;  ///< JSON of options, plan, branches, teacher: must agree for a run to go on
  int64_t micro_batch = 0, step = 0;
  double seconds = 0;
  std::optional<std::pair<double, double>> before;  ///< KL and NLL before the first step
  /// Name, master, first and second moment; references to the live tensors.
  struct Entry {
    std::string name;
    at::Tensor master, first, second;
  };
  std::vector<Entry> entries;

  /// Atomic. Throws Error(disk_full, bad_file).
  void write(const std::string& path) const;
  /// Reads into the tensors of `entries`, all or nothing, and fills the counts. Throws
  /// Error(bad_file) naming what differs.
  void read(const std::string& path);
  static int64_t micro_batch_of(const std::string& path);
};

}  // namespace flashmorph
