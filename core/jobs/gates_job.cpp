// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/gates_job.h"

#include <fmt/format.h>

#include "core/jobs/plan_export.h"
#include "core/run/error.h"

namespace flashmorph {

GateOptions gate_options_of(const RunConfig& config, int layers) {
  GateOptions options;
  options.constraint = config.constraint;
  options.steps = config.steps;
  options.lr = config.lr;
  options.lr_final = config.lr_final;
  options.lr_shape = config.lr_shape;
  options.full_source = config.full_source;
  options.branch_source = config.branch_source;
  options.target = config.target;
  options.norm = config.norm;
  options.tokens = config.tokens;
  options.supervision = config.supervision;
  options.penalty = config.penalty;
  options.answer_weight = config.answer_weight;
  options.budget = budget_of(config, layers);
  options.batch = config.batch;
  options.text_length = config.text_length;
  options.checkpoint_every = config.checkpoint_every;
  options.seed = static_cast<uint64_t>(config.seed);
  options.check();
  return options;
}

GatesOutcome run_gates_job(const Job& job, bool resumed) {
  MorphModel& model = job.session.model();
  const int L = model.layers();
  const auto text = open_text(job.config.text, job.session.tokenizer());
  const PasskeyData passkeys(job.session.tokenizer(), passkey_options_of(job.session, job.config, job.listener), *text,
                             static_cast<uint64_t>(job.config.seed));
  const GateOptions options = gate_options_of(job.config, L);
  GateTrainer trainer(model, passkeys, text.get(), options);
  const RunFolder& folder = job.recorder.folder();
  const std::string checkpoint = folder.checkpoints() / "gates.safetensors";
  if (resumed) {
    if (std::filesystem::exists(checkpoint))
      trainer.resume(checkpoint);
    else
      job.listener.note("the run has no checkpoint yet: starting at step 1");
  }
  tell_running(job, "gates");
  GatesOutcome outcome;
  outcome.result = trainer.run(
      [&](const GateStep& step) {
        GateStepsEvent event;
        event.job = job.id;
        event.step = {step.step};
        event.alpha = {step.alpha};
        event.raw = {step.raw};
        event.loss = {step.loss};
        event.penalty = {step.penalty};
        event.relative = {step.relative};
        event.lr = {step.lr};
        event.time_s = {step.seconds};
        event.tokens = {step.tokens};
        job.tell(std::move(event));
        double sum = 0;
        for (const double alpha : step.alpha) sum += alpha;
        job.listener.progress("gates", {"steps", step.step, options.steps, step.tokens},
                              fmt::format("loss {:.4g}, penalty {:.3g}, gates sum to {:.2f}", step.loss, step.penalty, sum));
        if (!step.notice.empty()) {
          job.listener.note(step.notice);
          job.tell(LogEvent{"warning", step.notice, job.id});
        }
        if (options.checkpoint_every > 0 && step.step % options.checkpoint_every == 0 && step.step < options.steps) {
          trainer.save(checkpoint);
          job.recorder.commit();
        }
      },
      job.stop);
  const GateResult& result = outcome.result;
  if (result.stopped) {
    trainer.save(checkpoint);
    return outcome;
  }
  std::filesystem::remove(checkpoint);
  const std::vector<Lock> locks = locks_of(job.config, L);
  outcome.solution = solve_budget(result.score, result.final_raw, static_cast<int>(options.budget), locks);
  if (!outcome.solution.moved.empty()) job.listener.note(outcome.solution.moved);
  job.recorder.edit([&](RunRecord& record) {
    record.gates.score.assign(result.score.begin(), result.score.end());
    record.gates.score_method = result.score_method;
    outcome.plan_id = record.keep_plan(outcome.solution.plan, fmt::format("gates K={}", outcome.solution.budget), "budget", locks);
    record.provenance["gates"] = {{"tokens", result.tokens},       {"steps", result.steps},
                                  {"forwards", result.forwards},   {"backwards", result.backwards},
                                  {"seconds", result.seconds},     {"data_sha256", text->data_sha256()},
                                  {"notice", result.notice},       {"preset", job.config.preset}};
  });
  write_plan_export(job, outcome.solution.plan, locks, "gates", result.score, result.alpha);
  return outcome;
}

}  // namespace flashmorph
