// SPDX-License-Identifier: Apache-2.0
// The table behind RunConfig: every option with commands, unit, range or choices, and help.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/run/run_config.h"

namespace flashmorph {

namespace {

using Commands = std::vector<std::string>;
using C = RunConfig;

constexpr double kMany = 1e9;  // upper end of counts

const Commands kAll = {"inspect", "align",   "gates",    "select",
                       "eval",    "compare", "distill", "finetune", "run"};
const Commands kWork = {"align",   "gates",   "select",   "eval",
                        "compare", "distill", "finetune", "run"};
const Commands kTrain = {"align", "gates", "distill", "finetune", "run"};
const Commands kHeldOut = {"align", "distill", "finetune", "run"};
const Commands kHybrid = {"distill", "finetune"};
const Commands kDistill = {"distill"};
const Commands kFinetune = {"finetune"};
const Commands kAlign = {"align", "run"};
const Commands kGates = {"gates", "run"};
const Commands kPrompts = {"gates",   "select",  "eval",     "compare",
                           "distill", "finetune", "run"};
const Commands kSelect = {"select", "run"};
const Commands kBudget = {"gates", "select", "run"};
const Commands kRecall = {"eval", "compare", "distill", "finetune", "run"};
const Commands kPlans = {"eval", "compare", "distill", "run"};
const Commands kEval = {"eval", "compare", "run"};
const std::vector<std::string> kKinds = {"lightning", "plain", "gla", "simple",
                                         "mamba2",    "gdn",   "kda", "window"};
const std::vector<std::string> kSwitch = {"auto", "on", "off"};

RunOption words(std::string name, OptionField field, Commands commands,
                std::vector<std::string> choices, std::string help) {
  return {std::move(name),    field,          std::move(commands), "", 1, 0,
          std::move(choices), std::move(help)};
}
RunOption any(std::string name, OptionField field, Commands commands, std::string help) {
  return words(std::move(name), field, std::move(commands), {}, std::move(help));
}
RunOption number(std::string name, OptionField field, Commands commands, std::string unit,
                 double low, double high, std::string help) {
  return {std::move(name), field, std::move(commands), std::move(unit), low, high, {},
          std::move(help)};
}

std::vector<RunOption> build() {
  std::vector<RunOption> table = {
      any("model", &C::model, kAll, "model folder or GGUF file"),
      words("preset", &C::preset, kGates, {"recommended", "paper"},
            "paper: every default of the paper; recommended: answer supervision with a fitted "
            "penalty"),
      words("device", &C::device, kWork, {"auto", "cpu", "cuda:N"},
            "where tensors live; auto: cuda:0 if there is one"),
      words("dtype", &C::dtype, kWork, {"auto", "float32", "bfloat16"},
            "arithmetic; auto: bfloat16 on cuda, float32 on the cpu"),
      any("runs", &C::runs, kWork, "folder of runs; default $XDG_DATA_HOME/flashmorph/runs"),
      any("run", &C::run, kWork, "name or folder of the run to make or use"),
      any("resume", &C::resume, {"align", "gates", "select", "eval", "distill", "finetune", "run"},
          "go on at the run's checkpoint"),
      any("text", &C::text, kWork,
          "text file or folder for background text, or story for the built-in one"),
      number("threads", &C::threads, kWork, "threads", 0, 4096, "CPU threads; 0: all"),
      any("json", &C::json, kAll, "one JSON object with the result on stdout, for machines"),
      any("quiet", &C::quiet, kAll, "only results and errors"),
      number("checkpoint_every", &C::checkpoint_every, kTrain, "steps", 0, kMany,
             "steps between checkpoints; 0: at the end and when stopped"),

      any("aligned", &C::aligned, kPrompts,
          "run folder or branches.safetensors with aligned branches"),
      any("truth", &C::truth, kEval,
          "table of all plans of this model: says where a plan stands among them"),

      words("branch", &C::branch, kAlign, kKinds, "kind of linear branch"),
      words("branches", &C::branches, kAlign, kKinds,
            "kind of each layer, one word a layer, instead of branch"),
      words("branch_rope", &C::branch_rope, kAlign, kSwitch,
            "RoPE on q and k of the branch; auto: as the kind has it"),
      words("branch_qk_norm", &C::branch_qk_norm, kAlign, kSwitch,
            "RMSNorm on q and k of the branch"),
      words("branch_silu", &C::branch_silu, kAlign, kSwitch, "SiLU on q, k, v of the branch"),
      {"branch_conv",
       &C::branch_conv,
       kAlign,
       "tokens",
       0,
       16,
       {"auto"},
       "width of the causal convolution on q, k, v; 0: none"},
      words("branch_skip", &C::branch_skip, kAlign, kSwitch, "mamba2: add D v to the output"),
      any("branch_double_beta", &C::branch_double_beta, kAlign,
          "gdn: beta in (0, 2) instead of (0, 1)"),
      any("spread", &C::spread, kAlign,
          "gla, simple: half-lives spread over 8..2048 tokens instead of 16"),
      words("decay_rule", &C::decay_rule, kAlign, {"alibi", "layer_scaled"},
            "lightning: slopes by head alone, or also by layer"),
      number("sink", &C::sink, kAlign, "tokens", 0, 1 << 24, "window: first tokens always seen"),
      number("window", &C::window, kAlign, "tokens", 1, 1 << 24, "window: last tokens seen"),
      number("align_steps", &C::align_steps, kAlign, "steps", 1, kMany, "steps of aligning"),
      number("align_batch", &C::align_batch, kAlign, "sequences", 1, 1 << 20, "sequences a step"),
      number("align_micro_batch", &C::align_micro_batch, kAlign, "sequences", 0, 1 << 20,
             "sequences at a time; 0: all of a step"),
      number("align_length", &C::align_length, kAlign, "tokens", 2, 1 << 24, "tokens a sequence"),
      number("align_lr", &C::align_lr, kAlign, "1", 0, 10, "learning rate after warm-up"),
      number("align_lr_final", &C::align_lr_final, kAlign, "1", 0, 10,
             "learning rate at the end of the cosine"),
      number("align_warmup", &C::align_warmup, kAlign, "steps", 0, kMany,
             "steps of linear warm-up, at most a tenth of all"),
      number("align_clip", &C::align_clip, kAlign, "1", 0, 1e9,
             "largest gradient norm; 0: no clipping"),
      words("align_loss", &C::align_loss, kAlign, {"mse", "sum", "l2norm"},
            "squared difference, mean over or sum of the hidden units, or the norm of the "
            "difference"),
      number("align_fit_tokens", &C::align_fit_tokens, kAlign, "tokens", 0, kMany,
             "tokens of the output-scale fit before the first step"),
      number("held_out_tokens", &C::held_out_tokens, kHeldOut, "tokens", 0, kMany,
             "tokens of the held-out error, KL and NLL"),
      number("held_out_every", &C::held_out_every, kHeldOut, "steps", 0, kMany,
             "steps between held-out measurements; 0: before and after"),

      any("plan", &C::plan, kHybrid,
          "layers that stay full: as 28:1,11-14,16, a run (its plan), uniform, uniform+N or linear; "
          "default: that of init"),
      any("init", &C::init, kHybrid, "trained hybrid to go on from: its run or hybrid.safetensors"),
      words("train_part", &C::train_part, kHybrid, {"all", "attention"},
            "weights that train; attention: mixers alone, the rest is shared with the teacher"),
      words("activation_checkpointing", &C::activation_checkpointing, kHybrid, kSwitch,
            "compute each layer twice instead of keeping its activations; auto: when memory asks"),
      number("rest_scale", &C::rest_scale, kHybrid, "1", 0, 1000,
             "learning rate of all but the mixers, over theirs"),
      number("probe_every", &C::probe_every, kHybrid, "steps", 0, kMany,
             "steps between recall probes; 0: before and after"),
      any("preflight", &C::preflight, kHybrid,
          "say what a start would need, and whether it fits; nothing is trained"),
      number("measured_steps", &C::measured_steps, kHybrid, "steps", 0, 1000,
             "steps the preflight takes to measure time and memory; 0: none"),
      number("distill_steps", &C::distill_steps, kDistill, "steps", 1, kMany, "steps of distilling"),
      number("distill_batch", &C::distill_batch, kDistill, "sequences", 1, 1 << 20,
             "sequences a step"),
      number("distill_micro_batch", &C::distill_micro_batch, kDistill, "sequences", 0, 1 << 20,
             "sequences at a time; 0: as many as fit"),
      number("distill_length", &C::distill_length, kDistill, "tokens", 2, 1 << 24,
             "tokens a sequence"),
      number("distill_lr", &C::distill_lr, kDistill, "1", 0, 10, "learning rate after warm-up"),
      number("distill_lr_final", &C::distill_lr_final, kDistill, "1", 0, 10,
             "learning rate at the end of the cosine"),
      number("distill_warmup", &C::distill_warmup, kDistill, "steps", 0, kMany,
             "steps of linear warm-up, at most a tenth of all"),
      number("distill_clip", &C::distill_clip, kDistill, "1", 0, 1e9,
             "largest gradient norm; 0: no clipping"),
      number("finetune_steps", &C::finetune_steps, kFinetune, "steps", 1, kMany,
             "steps of finetuning"),
      number("finetune_batch", &C::finetune_batch, kFinetune, "sequences", 1, 1 << 20,
             "sequences a step"),
      number("finetune_micro_batch", &C::finetune_micro_batch, kFinetune, "sequences", 0, 1 << 20,
             "sequences at a time; 0: as many as fit"),
      number("finetune_length", &C::finetune_length, kFinetune, "tokens", 2, 1 << 24,
             "tokens a sequence"),
      number("finetune_lr", &C::finetune_lr, kFinetune, "1", 0, 10, "learning rate after warm-up"),
      number("finetune_lr_final", &C::finetune_lr_final, kFinetune, "1", 0, 10,
             "learning rate at the end of the cosine; equal: constant"),
      number("finetune_warmup", &C::finetune_warmup, kFinetune, "steps", 0, kMany,
             "steps of linear warm-up, at most a tenth of all"),
      number("finetune_clip", &C::finetune_clip, kFinetune, "1", 0, 1e9,
             "largest gradient norm; 0: no clipping"),

      words("constraint", &C::constraint, kGates, {"clamp", "sigmoid"},
            "how gates are kept in 0..1"),
      words("lr_shape", &C::lr_shape, kGates, {"trapezoid", "cosine"},
            "learning rate over the steps"),
      number("lr", &C::lr, kGates, "1", 0, 10, "learning rate of the gates"),
      number("lr_final", &C::lr_final, kGates, "1", 0, 10,
             "learning rate at the end of the cosine"),
      words("full_source", &C::full_source, kGates, {"recomputed", "teacher"},
            "softmax output in the mix: of the mixed or the teacher's stream"),
      words("branch_source", &C::branch_source, kGates, {"mixed", "teacher"},
            "what the branch reads"),
      words("target", &C::target, kGates, {"residual", "mixer", "block", "last"},
            "state that is aligned"),
      words("norm", &C::norm, kGates, {"sum", "mean", "relative"},
            "squared norm over the hidden units"),
      words("tokens", &C::tokens, kGates, {"answer", "qa", "all"}, "tokens that are aligned"),
      words("supervision", &C::supervision, kGates, {"passkey", "lm", "ce", "answer"},
            "what the gates are trained on"),
      {"penalty",
       &C::penalty,
       kGates,
       "1",
       0,
       1e12,
       {"budget", "path"},
       "weight of the sum of gates: a number, budget (fitted to K) or path (a grid)",
       false},
      number("answer_weight", &C::answer_weight, kGates, "1", 0, 1e9,
             "weight of the answer cross-entropy with supervision answer"),
      number("batch", &C::batch, kGates, "sequences", 1, 1 << 16, "sequences a step"),
      number("text_length", &C::text_length, kPrompts,
             "tokens", 2, 1 << 24, "tokens a sequence of ordinary text"),
      number("length_min", &C::length_min, {"gates", "select", "run"}, "tokens", 16, 1 << 24,
             "shortest passkey sample"),
      number("length_max", &C::length_max, {"gates", "select", "run"}, "tokens", 16, 1 << 24,
             "longest passkey sample"),
      number("length_count", &C::length_count, {"gates", "select", "run"}, "1", 1, 100000,
             "lengths between them, evenly spaced"),
      number("passkeys", &C::passkeys, kPrompts, "1", 1, 10, "passkeys a sample"),
      number("passkey_words", &C::passkey_words, kPrompts, "words", 1, 1024, "words a passkey"),
      words("position", &C::position, kGates, {"input", "predict"},
            "state at the answer token, or at the one before"),

      words("method", &C::method, kSelect,
            {"uniform", "random", "local_mse",   "local_rel",  "bypass", "swap_nll",
             "swap_kl",     "recall_drop", "halo",       "ga_s2",  "greedy_add",
             "greedy_drop", "beam",        "flashmorph", "duo",    "quad",
             "quad_diag",   "softmax_nas", "l0",         "exact",  "score_file"},
            "how layers are scored"),
      number("budget", &C::budget, {"gates", "select", "eval", "compare", "distill", "run"}, "layers", 0, 4096, "K, layers kept full; 0: a quarter"),
      number("offset", &C::offset, kSelect, "layers", 0, 4096, "uniform: first kept layer"),
      any("score_file", &C::score_file, kSelect,
          "method score_file: JSON array or CSV with one score a layer"),
      number("samples", &C::samples, kSelect, "prompts", 1, 1 << 20, "calibration prompts"),
      number("beam_width", &C::beam_width, kSelect, "1", 1, 1024, "beam: sets kept per round"),
      words("local_tokens", &C::local_tokens, kSelect, {"answer", "all"},
            "local_mse, local_rel: tokens measured"),
      number("quality_floor", &C::quality_floor, kSelect, "nats", 0, 1e6,
             "greedy_drop: stop above this rise of the answer NLL; 0: none"),
      number("lock_full", &C::lock_full, kBudget, "layers", 0, 4095,
             "layers that stay full whatever their score"),
      number("lock_linear", &C::lock_linear, kBudget, "layers", 0, 4095,
             "layers that become linear whatever their score"),

      words("task", &C::task, kRecall, {"passkey", "needle"}, "recall task"),
      any("set", &C::set, kRecall,
          "name of the eval set; a saved one brings its task, lengths, depths, trials and seed"),
      number("lengths", &C::lengths, kRecall, "tokens", 1, 1 << 24, "context lengths"),
      number("depths", &C::depths, kRecall, "1", 0, 1, "depths of the needle, 0 = start"),
      number("trials", &C::trials, kRecall, "prompts", 1, 65535, "prompts per length and depth"),
      any("plans", &C::plans, kPlans,
          "plans as 28:1,11-14,16, names of saved plans, or teacher, linear, uniform; distill: one run "
          "each, equal tokens"),
      any("weights", &C::weights, kEval,
          "aligned, or distilled: what the distill or finetune run trained"),
      any("generate", &C::generate, kEval, "also by greedy generation"),
      number("text_tokens", &C::text_tokens,
             {"select", "eval", "compare", "distill", "finetune", "run"}, "tokens", 0,
             kMany, "tokens of text for KL and perplexity; 0: none"),

      number("steps", &C::steps, kGates, "steps", 1, kMany, "steps of gate training"),
      number("seed", &C::seed, kWork, "1", 0, 9007199254740991.0, "seed of everything random"),
  };
  return table;
}

}  // namespace

std::string RunOption::flag() const {
  std::string text = "--" + name;
  std::replace(text.begin(), text.end(), '_', '-');
  return text;
}

bool RunOption::takes(const std::string& command) const {
  return std::find(commands.begin(), commands.end(), command) != commands.end();
}

const std::vector<RunOption>& run_options() {
  static const std::vector<RunOption> table = build();
  return table;
}

const RunOption* find_option(const std::string& name) {
  for (const RunOption& option : run_options())
    if (option.name == name) return &option;
  return nullptr;
}

const std::vector<std::pair<std::string, std::string>>& run_commands() {
  static const std::vector<std::pair<std::string, std::string>> commands = {
      {"inspect", "what a model is and which parts are supported, without loading its weights"},
      {"align", "train one linear branch beside every softmax layer"},
      {"gates", "train one gate per layer and rank the layers by it"},
      {"select", "rank the layers by another method"},
      {"eval", "recall of plans by length and depth"},
      {"compare", "two or more evaluated plans, paired trial by trial"},
      {"distill", "train the hybrid of a plan to the teacher's distribution"},
      {"finetune", "train a hybrid on text at long context"},
      {"run", "align, gates, select and eval in one go"},
  };
  return commands;
}

const std::vector<std::pair<std::string, std::string>>& run_presets() {
  static const std::vector<std::pair<std::string, std::string>> presets = {
      {"recommended", "supervision answer, penalty budget, 600 steps on short passkey prompts, else as paper"},
      {"paper", "the paper's objective: passkey alignment, penalty 0.1"},
  };
  return presets;
}

}  // namespace flashmorph
