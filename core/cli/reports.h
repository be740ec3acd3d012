// SPDX-License-Identifier: Apache-2.0
// What finished jobs print: tables, gate bars, heat maps; the same content as JSON for --json.
#pragma once

#include <optional>

#include "core/cli/console.h"
#include "core/jobs/align_job.h"
#include "core/jobs/eval_job.h"
#include "core/jobs/gates_job.h"
#include "core/jobs/select_job.h"
#include "core/select/plan_truth.h"

namespace flashmorph {

nlohmann::json report_align(Console& console, const AlignResult& result);
nlohmann::json report_gates(Console& console, const GatesOutcome& outcome);
nlohmann::json report_select(Console& console, const SelectOutcome& outcome, int budget);
nlohmann::json report_eval(Console& console, const EvalOutcome& outcome, const ModelConfig& model, bool maps);
/// Every plan against the first, trial by trial.
nlohmann::json report_paired(Console& console, const EvalOutcome& outcome);
/// Where plans stand among all plans of their budget.
nlohmann::json report_ranks(Console& console, const std::vector<NamedPlan>& plans, const PlanTruth& truth);

/// The run's tables as exports/*.csv and *.json (those that have rows).
void write_tables(const RunFolder& folder, const RunRecord& record);

}  // namespace flashmorph
