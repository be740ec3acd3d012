// SPDX-License-Identifier: Apache-2.0
#include "core/jobs/eval_job.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

#include "core/eval/prompt_batch.h"
#include "core/eval/recall_evaluator.h"
#include "core/jobs/hybrid_source.h"
#include "core/run/error.h"
#include "core/train/hybrid_trainer.h"

namespace flashmorph {

namespace {

LayerPlan uniform_plan(int layers, int budget, int offset) {
  std::vector<int> full;
  for (int i = 0; i < budget; ++i) full.push_back((i * layers / budget + offset) % layers);
  return LayerPlan::of(layers, full);
}

// Trials of a cell that `told` has not heard of yet.
CellUpdate update_of(const RecallCell& cell, int n, int d, int told) {
  CellUpdate update{n, d, cell.trials, cell.hits, cell.score, cell.nll_nats, {}};
  for (int r = told; r < cell.trials && r < static_cast<int>(cell.trial_score.size()); ++r)
    update.new_trials.push_back(cell.trial_score[static_cast<size_t>(r)]);
  return update;
}

}  // namespace

EvalSet eval_set_of(const RunConfig& config, const RunRecord& record) {
  for (const SetEvaluations& known : record.evals)
    if (!config.set.empty() && known.set.name == config.set) return known.set;
  EvalSet set;
  set.task = config.task;
  set.lengths = config.lengths;
  set.depths = config.depths;
  set.trials = static_cast<int>(config.trials);
  set.seed = static_cast<uint64_t>(config.seed);
  if (config.task == "passkey") {
    const RunConfig defaults = default_config(config.command, config.preset);
    if (config.passkeys != defaults.passkeys) set.strings["passkeys"] = std::to_string(config.passkeys);
    if (config.passkey_words != defaults.passkey_words) set.strings["passkey_words"] = std::to_string(config.passkey_words);
  }
  set.name = config.set;
  set = EvalSet::from_json(set.to_json(), "eval options");
  if (set.name.empty()) set.name = set.id();
  return set;
}

std::vector<NamedPlan> plans_of(const std::vector<std::string>& words, const RunConfig& config, const RunRecord& record, int layers) {
  std::vector<NamedPlan> plans;
  const int budget = budget_of(config, layers);
  for (const std::string& word : words) {
    NamedPlan one{word, "hand", {}};
    const auto saved = std::find_if(record.plans.begin(), record.plans.end(),
                                    [&](const SavedPlan& plan) { return plan.id == word || plan.name == word; });
    if (word.find(':') != std::string::npos) {
      one.plan = LayerPlan::parse(word);
    } else if (saved != record.plans.end()) {
      one = {saved->name, saved->origin, saved->plan};
    } else if (word == "teacher" || word == "linear") {
      one.plan = word == "teacher" ? LayerPlan::all_full(layers) : LayerPlan::all_linear(layers);
      one.origin = "bracket";
    } else if (word == "uniform" || word.starts_with("uniform+")) {
      int offset = 0;
      if (word.size() > 8) std::from_chars(word.data() + 8, word.data() + word.size(), offset);
      one.plan = uniform_plan(layers, std::clamp(budget, 1, layers), std::max(offset, 0));
      one.origin = "uniform";
    } else {
      std::string known = "teacher, linear, uniform";
      for (const SavedPlan& plan : record.plans) known += fmt::format(", \"{}\"", plan.name);
      throw Error("eval", ErrorCode::bad_request, fmt::format("there is no plan \"{}\"", word.substr(0, 80)),
                  fmt::format("give a plan as {}:0,3-5 or one of {}", layers, known));
    }
    if (one.plan.layers != layers)
      throw Error("eval", ErrorCode::plan_impossible,
                  fmt::format("plan {} is for {} layers, the model has {}", one.plan.to_string(), one.plan.layers, layers));
    plans.push_back(std::move(one));
  }
  return plans;
}

std::filesystem::path weights_file(const Job& job) {
  if (job.config.weights != "distilled")
    throw Error("eval", ErrorCode::bad_request, fmt::format("weights \"{}\" are unknown", job.config.weights.substr(0, 80)),
                "use aligned, or distilled together with --run of the distill or finetune run that trained them");
  return find_hybrid(job.config, job.recorder.folder().path.string());
}

namespace {

// KL and NLL of a trained hybrid on the sequences that a TextProbe of the same numbers reads.
TextMetrics hybrid_metrics(const HybridModel& hybrid, const TextSource& text, int64_t tokens, int64_t length, uint64_t seed,
                           const StopFlag& stop) {
  const int64_t count = (tokens + length - 1) / length;
  const at::Tensor ids = at::empty({count, length}, at::kLong);
  for (int64_t i = 0; i < count; ++i) {
    const TokenIds row = text.take(seed, static_cast<uint64_t>(i), length);
    std::copy(row.begin(), row.end(), ids.data_ptr<int64_t>() + i * length);
  }
  const HeldOut found = score_text(hybrid, ids, std::max<int64_t>(1, batch_tokens(hybrid.teacher()) / length), [&] {
    if (stop.is_set()) throw Error("eval", ErrorCode::stopped, "the evaluation was stopped");
  });
  return {found.nll_nats, std::exp(found.nll_nats), found.kl_nats, ids.numel() - count};
}

}  // namespace

EvalOutcome run_eval_job(const Job& job, const EvalSet& set, const std::vector<NamedPlan>& plans) {
  const RunConfig& config = job.config;
  std::optional<HybridModel> hybrid;
  if (config.weights != "aligned") {
    hybrid.emplace(load_hybrid(job.session, weights_file(job)));
    for (const NamedPlan& plan : plans)
      if (plan.plan != hybrid->plan())
        throw Error("eval", ErrorCode::bad_request,
                    fmt::format("the {} weights were trained for plan {}, not {}", config.weights, hybrid->plan().to_string(),
                                plan.plan.to_string()),
                    "evaluate other plans with --weights aligned");
  } else if (!job.session.has_branches()) {
    // Brackets of a teacher alone need no branch.
    if (std::any_of(plans.begin(), plans.end(), [](const NamedPlan& p) { return p.plan.budget() < p.plan.layers; })) job.session.model();
    job.session.make_branches({BranchOptions::of(BranchKind::window)}, 0);
  }
  const MorphModel& model = hybrid ? hybrid->model() : job.session.model();
  const auto text = open_text(config.text, job.session.tokenizer());
  const RecallEvaluator evaluator(model, job.session.tokenizer(), *text, set);
  std::optional<TextProbe> probe;
  if (config.text_tokens > 0 && !hybrid)
    probe.emplace(model, *text, config.text_tokens, config.text_length, static_cast<uint64_t>(config.seed) + 7919);
  EvalOutcome outcome;
  outcome.set = set;
  const int64_t all = static_cast<int64_t>(set.lengths.size() * set.depths.size()) * set.trials * static_cast<int64_t>(plans.size());
  int64_t done = 0;
  for (const NamedPlan& plan : plans) {
    PlanEvaluation one{plan, {}, set.empty_grid(), {}};
    job.recorder.edit([&](RunRecord& record) {
      one.plan_id = record.keep_plan(plan.plan, plan.name.substr(0, 64), plan.origin.substr(0, 32));
      one.grid = record.grid(set, one.plan_id, config.weights);
    });
    std::vector<int> told(one.grid.cells.size());
    for (size_t i = 0; i < told.size(); ++i) told[i] = one.grid.cells[i].trials;
    const int64_t cached = one.grid.trials_run();
    const auto on_cell = [&](int n, int d) {
      const RecallCell& cell = one.grid.at(n, d);
      int& known = told[static_cast<size_t>(n) * set.depths.size() + static_cast<size_t>(d)];
      EvalCellsEvent event{job.id, set.name, plan.plan.to_string(), config.weights, {update_of(cell, n, d, known)}};
      known = cell.trials;
      job.tell(std::move(event));
      job.listener.progress("eval", {"prompts", done + one.grid.trials_run(), all, 0},
                            fmt::format("{}: {:.3f}", plan.name, one.grid.mean_score()));
    };
    evaluator.run(plan.plan, one.grid, on_cell, job.stop, config.generate ? Scoring::generated : Scoring::teacher_forced);
    done += one.grid.trials_run();
    if (cached == one.grid.trials_run() && cached > 0)
      job.listener.note(fmt::format("{}: all {} prompts known from before", plan.name, cached));
    const uint64_t text_seed = static_cast<uint64_t>(config.seed) + 7919;
    if (one.grid.complete() && config.text_tokens > 0 && !job.stop.is_set())
      one.text = hybrid ? hybrid_metrics(*hybrid, *text, config.text_tokens, config.text_length, text_seed, job.stop)
                        : probe->metrics({plan.plan}, nullptr, {}, &job.stop).front();
    EvalSummaryEvent summary;
    summary.job = job.id;
    summary.set = set.name;
    summary.plan = plan.plan.to_string();
    summary.weights = config.weights;
    summary.score = one.grid.mean_score();
    summary.nll_nats = one.grid.mean_nll_nats();
    for (const RecallCell& cell : one.grid.cells) {
      summary.trials += cell.trials;
      summary.hits += cell.hits;
    }
    if (one.text) {
      summary.perplexity = one.text->perplexity;
      summary.kl_nats = one.text->kl_nats;
      job.recorder.edit([&](RunRecord& record) {
        record.provenance["text_metrics"][plan.plan.to_string()] = {{"nll_nats", one.text->nll_nats},
                                                                    {"perplexity", one.text->perplexity},
                                                                    {"kl_nats", one.text->kl_nats},
                                                                    {"tokens", one.text->tokens},
                                                                    {"text_length", config.text_length},
                                                                    {"seed", config.seed},
                                                                    {"weights", config.weights},
                                                                    {"data_sha256", text->data_sha256()}};
      });
    }
    job.tell(std::move(summary));
    outcome.plans.push_back(std::move(one));
    if (job.stop.is_set()) {
      outcome.stopped = true;
      break;
    }
  }
  return outcome;
}

}  // namespace flashmorph
