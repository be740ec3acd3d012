// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/hybrid_job.h"

#include <cmath>
#include <cstdlib>
#include <limits>

#include <fmt/format.h>

#include "core/eval/recall_evaluator.h"
#include "core/jobs/hybrid_memory.h"
#include "core/run/error.h"

namespace flashmorph {

namespace fs = std::filesystem;

namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

StopCheck stop_check_of(const Job& job) {
  return [&job] {
    if (job.stop.is_set() && job.stop_wish() != StopWish::after_checkpoint)
      throw Error(job.config.command, ErrorCode::stopped, "stopped on request");
  };
}

nlohmann::json held_out_json(const std::optional<HeldOut>& value) {
  return value ? nlohmann::json{{"kl_nats", value->kl_nats}, {"nll_nats", value->nll_nats}}
               : nlohmann::json();
}

std::optional<HeldOut> held_out_of(const nlohmann::json& json) {
  if (!json.is_object()) return std::nullopt;
  return HeldOut{json.value("kl_nats", kNone), json.value("nll_nats", kNone)};
}

// Recall probes of one run, each recorded as an evaluation of the plan with weights of its own.
class Probes {
 public:
  Probes(const Job& job, const HybridModel& hybrid, const EvalSet& set, const TextSource& text,
         HybridOutcome& outcome)
      : job_(job),
        hybrid_(hybrid),
        outcome_(outcome),
        evaluator_(hybrid.model(), job.session.tokenizer(), text, set) {}

  /// Takes up the probes that an earlier part of the run has completed.
  void take_up() {
    const RunRecord record = job_.recorder.record();
    const SavedPlan* plan = record.find_plan(hybrid_.plan());
    for (const SetEvaluations& known : record.evals)
      for (const Evaluation& one : known.evaluations) {
        const bool step = one.weights.starts_with("step-");
        if (!plan || one.plan_id != plan->id || known.set.id() != evaluator_.set().id() ||
            !one.grid.complete())
          continue;
        if (step || one.weights == "aligned" || one.weights == "init")
          outcome_.probes.push_back(
              {one.weights, step ? std::atoll(one.weights.c_str() + 5) : 0, one.grid});
      }
  }

  /// Whether it is complete; false when the job was stopped.
  bool take(const std::string& weights, int64_t step) {
    const EvalSet& set = evaluator_.set();
    RecallProbe probe{weights, step, {}};
    job_.recorder.edit([&](RunRecord& record) {
      const std::string id = record.keep_plan(hybrid_.plan(), outcome_.plan.name.substr(0, 64),
                                              outcome_.plan.origin.substr(0, 32));
      probe.grid = record.grid(set, id, weights);
    });
    std::vector<int> told(probe.grid.cells.size());
    for (size_t i = 0; i < told.size(); ++i) told[i] = probe.grid.cells[i].trials;
    const auto on_cell = [&](int n, int d) {
      const RecallCell& cell = probe.grid.at(n, d);
      int& known = told[static_cast<size_t>(n) * set.depths.size() + static_cast<size_t>(d)];
      CellUpdate update{n, d, cell.trials, cell.hits, cell.score, cell.nll_nats, {}};
      for (int r = known; r < cell.trials; ++r)
        update.new_trials.push_back(cell.trial_score[static_cast<size_t>(r)]);
      known = cell.trials;
      job_.tell(EvalCellsEvent{job_.id, set.name, hybrid_.plan().to_string(), weights, {update}});
      job_.listener.progress("probe", {"prompts", probe.grid.trials_run(), set_trials(set), 0},
                             fmt::format("{}: recall {:.3f}", weights, probe.grid.mean_score()));
    };
    evaluator_.run(hybrid_.plan(), probe.grid, on_cell, job_.stop);
    if (!probe.grid.complete()) return false;
    EvalSummaryEvent summary;
    summary.job = job_.id;
    summary.set = set.name;
    summary.plan = hybrid_.plan().to_string();
    summary.weights = weights;
    summary.score = probe.grid.mean_score();
    summary.nll_nats = probe.grid.mean_nll_nats();
    for (const RecallCell& cell : probe.grid.cells) {
      summary.trials += cell.trials;
      summary.hits += cell.hits;
    }
    job_.tell(std::move(summary));
    outcome_.probes.push_back(std::move(probe));
    return true;
  }

 private:
  static int64_t set_trials(const EvalSet& set) {
    return static_cast<int64_t>(set.lengths.size() * set.depths.size()) * set.trials;
  }
  const Job& job_;
  const HybridModel& hybrid_;
  HybridOutcome& outcome_;
  RecallEvaluator evaluator_;
};

void tell_step(const Job& job, const TrainOptions& options, const TrainStep& step) {
  TrainStepsEvent event;
  event.job = job.id;
  event.stage = to_string(options.stage);
  event.step = {step.step};
  event.loss = {step.loss};
  event.lr = {step.lr};
  event.time_s = {step.seconds};
  event.tokens = {step.tokens};
  event.grad_norm = {step.grad_norm};
  event.held_out_kl = {step.held_out ? step.held_out->kl_nats : kNone};
  event.held_out_nll = {step.held_out ? step.held_out->nll_nats : kNone};
  job.tell(std::move(event));
  job.listener.progress(
      to_string(options.stage), {"steps", step.step, options.steps, step.tokens},
      step.held_out ? fmt::format("loss {:.4g}, held-out KL {:.4f}, perplexity {:.2f}", step.loss,
                                  step.held_out->kl_nats, std::exp(step.held_out->nll_nats))
                    : fmt::format("loss {:.4g}", step.loss));
}

std::map<std::string, std::string> metadata_of(const Job& job, const TrainOptions& options,
                                               const TrainResult& result, const TextSource& text) {
  return {{"teacher", job.session.teacher().config().name},
          {"teacher_config_sha256", job.session.config_sha256()},
          {"teacher_weights_sha256", job.session.weights_sha256()},
          {"stage", to_string(options.stage)},
          {"steps", std::to_string(result.steps)},
          {"tokens", std::to_string(result.tokens)},
          {"seed", std::to_string(options.seed)},
          {"data_sha256", text.data_sha256()},
          {"run_uuid", job.recorder.record().uuid}};
}

// What a finished training left in the record, for a job that was killed between training and its
// last evaluation.
std::optional<TrainResult> finished_training(const Job& job, const TrainOptions& options,
                                             const LayerPlan& plan, const fs::path& file) {
  if (!fs::exists(file)) return std::nullopt;
  const HybridFileInfo info = hybrid_file_info(file);
  const RunRecord record = job.recorder.record();
  const auto known = record.provenance.find(to_string(options.stage));
  if (info.plan != plan || known == record.provenance.end() ||
      known->value("steps", int64_t{0}) != options.steps)
    return std::nullopt;
  TrainResult result;
  result.before = held_out_of(known->value("before", nlohmann::json()));
  result.after = held_out_of(known->value("after", nlohmann::json()));
  result.steps = options.steps;
  result.tokens = known->value("tokens", int64_t{0});
  result.seconds = known->value("seconds", 0.0);
  return result;
}

}  // namespace

TrainStage parse_train_stage(const std::string& command) {
  if (command == "distill") return TrainStage::distill;
  if (command == "finetune") return TrainStage::finetune;
  throw Error("run", ErrorCode::bad_request,
              fmt::format("{} trains no hybrid", command.substr(0, 40)), "use distill or finetune");
}

TrainOptions train_options_of(const RunConfig& config, TrainStage stage) {
  TrainOptions options = TrainOptions::of(stage);
  const bool distill = stage == TrainStage::distill;
  options.steps = distill ? config.distill_steps : config.finetune_steps;
  options.batch = distill ? config.distill_batch : config.finetune_batch;
  options.micro_batch = distill ? config.distill_micro_batch : config.finetune_micro_batch;
  options.length = distill ? config.distill_length : config.finetune_length;
  options.lr = distill ? config.distill_lr : config.finetune_lr;
  options.lr_final = distill ? config.distill_lr_final : config.finetune_lr_final;
  options.warmup = distill ? config.distill_warmup : config.finetune_warmup;
  options.clip = distill ? config.distill_clip : config.finetune_clip;
  options.rest_scale = config.rest_scale;
  options.checkpointing = config.activation_checkpointing == "on";
  options.held_out_tokens = config.held_out_tokens;
  options.held_out_every = config.held_out_every;
  options.seed = static_cast<uint64_t>(config.seed);
  options.check();
  return options;
}

HybridOutcome run_hybrid_job(const Job& job, bool resumed) {
  const RunConfig& config = job.config;
  const RunFolder& folder = job.recorder.folder();
  const TrainStage stage =
      parse_train_stage(config.command.empty() ? job.recorder.record().kind : config.command);
  const fs::path checkpoint = folder.checkpoints() / "train.safetensors",
                 file = folder.checkpoints() / "hybrid.safetensors";
  const auto text = open_text(config.text, job.session.tokenizer());
  const HybridStart start = hybrid_start_of(config, job.session.teacher().layers());
  TrainOptions options = train_options_of(config, stage);
  HybridOutcome outcome;
  outcome.plan = start.plan;
  outcome.set = eval_set_of(config, job.recorder.record());
  job.recorder.edit([&](RunRecord& record) {
    record.keep_plan(start.plan.plan, start.plan.name.substr(0, 64),
                     start.plan.origin.substr(0, 32));
    if (record.parent_uuid.empty()) record.parent_uuid = start.parent_uuid;
  });
  tell_running(job, to_string(stage));
  const StopCheck check_stop = stop_check_of(job);
  if (const auto known =
          resumed ? finished_training(job, options, start.plan.plan, file) : std::nullopt) {
    job.listener.note("the weights are trained already: going on with the evaluation");
    outcome.result = *known;
    outcome.file = file;
    const HybridModel hybrid = load_hybrid(job.session, file);
    Probes probes(job, hybrid, outcome.set, *text, outcome);
    probes.take_up();
    outcome.result.stopped = !probes.take("distilled", options.steps);
    if (!outcome.result.stopped) fs::remove(checkpoint);
    return outcome;
  }
  HybridModel hybrid = make_hybrid(job.session, start, parse_train_part(config.train_part));
  const bool goes_on = resumed && fs::exists(checkpoint);
  if (resumed && !goes_on) job.listener.note("the run has no checkpoint yet: starting at step 1");
  // The same sums in the same order need the same micro-batch.
  if (goes_on && options.micro_batch == 0)
    options.micro_batch = HybridTrainer::micro_batch_of(checkpoint);
  const MemoryChoice choice =
      settle_memory(job.session, hybrid, options, config.activation_checkpointing);
  options.micro_batch = choice.micro_batch;
  options.checkpointing = choice.checkpointing;
  if (!choice.note.empty()) job.listener.note(choice.note);
  HybridTrainer trainer(hybrid, *text, options, job.session.weights_sha256());
  if (goes_on) trainer.resume(checkpoint);
  Probes probes(job, hybrid, outcome.set, *text, outcome);
  const auto stopped = [&]() -> HybridOutcome& {
    outcome.result.stopped = true;
    if (job.stop_wish() != StopWish::discard && trainer.step() > 0) {
      trainer.save(checkpoint);
      job.recorder.commit();
    }
    return outcome;
  };
  if (trainer.step() > 0) {
    probes.take_up();
  } else {
    const bool complete = probes.take(start.init.empty() ? "aligned" : "init", 0);
    hybrid.refresh();
    if (!complete) return stopped();
  }
  outcome.result = trainer.run(
      [&](const TrainStep& step) {
        tell_step(job, options, step);
        const bool last = step.step == options.steps;
        if (config.checkpoint_every > 0 && step.step % config.checkpoint_every == 0 && !last) {
          trainer.save(checkpoint);
          job.recorder.commit();
        }
        if (config.probe_every > 0 && step.step % config.probe_every == 0 && !last) {
          probes.take(fmt::format("step-{}", step.step), step.step);
          hybrid.refresh();
        }
        if (job.stop.is_set())
          throw Error(config.command, ErrorCode::stopped, "stopped on request");
      },
      check_stop);
  if (outcome.result.stopped) return stopped();
  const TrainResult& result = outcome.result;
  save_hybrid(file, hybrid, metadata_of(job, options, result, *text));
  outcome.file = file;
  job.recorder.edit([&](RunRecord& record) {
    record.provenance[to_string(stage)] = {{"plan", hybrid.plan().to_string()},
                                           {"train_part", to_string(hybrid.part())},
                                           {"steps", result.steps},
                                           {"tokens", result.tokens},
                                           {"seconds", result.seconds},
                                           {"micro_batch", options.micro_batch},
                                           {"activation_checkpointing", options.checkpointing},
                                           {"trainable_parameters", hybrid.trainable()},
                                           {"data_sha256", text->data_sha256()},
                                           {"seed", config.seed},
                                           {"before", held_out_json(result.before)},
                                           {"after", held_out_json(result.after)}};
  });
  if (!probes.take("distilled", result.steps)) {
    outcome.result.stopped = true;  // the weights are saved: resuming only evaluates
    return outcome;
  }
  fs::remove(checkpoint);
  return outcome;
}

}  // namespace flashmorph
