// SPDX-License-Identifier: Apache-2.0
// What a distill or finetune would need, said before it starts: memory by part, disk, tokens, time,
// and cures that fit (workbench 3, Distill).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/jobs/hybrid_job.h"
#include "core/jobs/hybrid_memory.h"

namespace flashmorph {

/// A change of options that makes a row's trouble go away; checked, not guessed.
struct ForecastCure {
  std::string text;                               ///< "distill_micro_batch 2: 6.1 GB"
  nlohmann::json set = nlohmann::json::object();  ///< option -> value
};
struct ForecastRow {
  std::string name;   ///< plan, teacher, memory, disk, tokens, time
  std::string level;  ///< ok, warn, stop: a start would fail
  std::string text;   ///< one sentence
  std::vector<ForecastCure> cures;
};

struct TrainForecast {
  std::vector<ForecastRow> rows;
  MemoryChoice choice;    ///< as a start would settle it; micro_batch 0 when nothing fits
  int64_t available = 0;  ///< bytes on the device
  std::optional<int64_t>
      measured_peak;  ///< of the measured steps, same meaning as choice.forecast.total()
  std::optional<int64_t>
      measured_tensors;  ///< of these the tensors: without process and workspace, and without what
                         ///< an allocator keeps for itself
  std::optional<double> tokens_per_s, step_s, estimate_s;
  int64_t disk_weights = 0;     ///< bytes that stay in the run
  int64_t disk_checkpoint = 0;  ///< bytes in use beside them while it runs, at most
  std::optional<int64_t> disk_free;
  bool starts() const;  ///< no row says stop
  nlohmann::json to_json() const;
};

/// Loads nothing but the hybrid, takes config.measured_steps steps of the chosen size on weights
/// that are thrown away, and writes no file. listener hears what is being measured. Throws what
/// hybrid_start_of and train_options_of throw, and Error(stopped).
TrainForecast forecast_training(const Session& session, const RunConfig& config,
                                const StopFlag& stop, const JobListener& listener);

}  // namespace flashmorph
