// SPDX-License-Identifier: Apache-2.0
// What distill, finetune and their preflight print; the same content as JSON for --json.
#pragma once

#include "core/cli/console.h"
#include "core/jobs/hybrid_job.h"
#include "core/jobs/preflight.h"

namespace flashmorph {

nlohmann::json report_forecast(Console& console, const TrainForecast& forecast);

struct PlanForecast {
  std::string name;
  TrainForecast forecast;
};
/// Forecasts of plans that are trained one after another: each, then a table of all with the
/// largest peak, the disk that is in use at the worst moment, and the time of all. plans: one entry
/// each; total: peak_bytes, disk_bytes, disk_free_bytes, estimate_s (null when one is not known);
/// starts: none would be refused, and the disk holds them all.
nlohmann::json report_forecasts(Console& console, const std::vector<PlanForecast>& forecasts);
/// Recall at every probe with heat maps of the first and the last, held-out KL and perplexity
/// before and after.
nlohmann::json report_hybrid(Console& console, const HybridOutcome& outcome);
/// Plans trained with equal tokens, side by side: recall before and after, KL, perplexity, and each
/// against the first by prompt. teacher: its recall on the same set, for the last row.
nlohmann::json report_comparison(Console& console, const std::vector<HybridOutcome>& outcomes,
                                 const RecallGrid& teacher);
/// The comparison as CSV, one row a plan.
std::string comparison_csv(const nlohmann::json& comparison);

}  // namespace flashmorph
