// SPDX-License-Identifier: Apache-2.0
// The plan as it leaves the house: hybrid_config.json in the run's exports folder (formats 7).
#pragma once

#include <optional>

#include "core/jobs/job.h"
#include "core/run/hybrid_config.h"

namespace flashmorph {

/// Everything formats 7 asks for, from the session, the run and the job's config. gates: only for gate runs.
HybridConfig hybrid_config_of(const Session& session, const RunConfig& config, const RunRecord& record, const LayerPlan& plan,
                              const std::vector<Lock>& locks, const std::string& method, const std::vector<double>& score,
                              const std::vector<double>& gates, const std::string& command);

/// Writes exports/hybrid_config.json of the job's run; returns the path.
std::filesystem::path write_plan_export(const Job& job, const LayerPlan& plan, const std::vector<Lock>& locks,
                                        const std::string& method, const std::vector<double>& score, const std::vector<double>& gates);

}  // namespace flashmorph
