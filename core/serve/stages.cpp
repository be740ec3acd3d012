// SPDX-License-Identifier: Apache-2.0
#include "core/serve/stages.h"

#include <algorithm>

#include "core/jobs/align_job.h"
#include "core/jobs/gates_job.h"
#include "core/jobs/hybrid_job.h"
#include "core/jobs/select_job.h"

namespace flashmorph {

namespace {

WorkEnd ended(bool stopped) { return stopped ? WorkEnd::stopped : WorkEnd::finished; }

double mean_sample(const RunConfig& config) {
  return 0.5 *
         static_cast<double>(std::min(config.length_min, config.length_max) + config.length_max);
}

std::vector<Stage> build() {
  std::vector<Stage> table;
  table.push_back(
      {"align",
       false,
       false,
       true,
       {},
       [](const Job& job, bool resumed) { return ended(run_align_job(job, resumed).stopped); },
       [](const RunConfig& c, int) {
         return static_cast<double>(c.align_steps) * static_cast<double>(c.align_batch) *
                static_cast<double>(c.align_length);
       }});
  table.push_back({"gates",
                   true,
                   false,
                   false,
                   {},
                   [](const Job& job, bool resumed) {
                     return ended(run_gates_job(job, resumed).result.stopped);
                   },
                   [](const RunConfig& c, int) {
                     return static_cast<double>(c.steps) * static_cast<double>(c.batch) *
                            mean_sample(c);
                   }});
  table.push_back({"select", true, false, false,
                   "a selector keeps no checkpoint: cancel it and start it again",
                   [](const Job& job, bool) {
                     run_select_job(job);
                     return WorkEnd::finished;
                   },
                   [](const RunConfig& c, int layers) {
                     // One forward of all prompts a layer, which greedy methods repeat for each
                     // round.
                     const bool greedy = c.method == "greedy_add" || c.method == "greedy_drop" ||
                                         c.method == "beam";
                     return static_cast<double>(c.samples) * mean_sample(c) * layers *
                            (greedy ? 0.5 * layers : 1.0);
                   }});
  const auto train = [](const Job& job, bool resumed) {
    return ended(run_hybrid_job(job, resumed).result.stopped);
  };
  table.push_back({"distill", false, true, false, {}, train, [](const RunConfig& c, int) {
                     return static_cast<double>(c.distill_steps) *
                            static_cast<double>(c.distill_batch) *
                            static_cast<double>(c.distill_length);
                   }});
  table.push_back({"finetune", false, true, false, {}, train, [](const RunConfig& c, int) {
                     return static_cast<double>(c.finetune_steps) *
                            static_cast<double>(c.finetune_batch) *
                            static_cast<double>(c.finetune_length);
                   }});
  return table;
}

}  // namespace

const std::vector<Stage>& stages() {
  static const std::vector<Stage> table = build();
  return table;
}

const Stage* find_stage(const std::string& name) {
  for (const Stage& stage : stages())
    if (stage.name == name) return &stage;
  return nullptr;
}

}  // namespace flashmorph
