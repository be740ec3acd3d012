// SPDX-License-Identifier: Apache-2.0
// Every choice of every command, described once: snake_case JSON key = protocol parameter =
// --kebab-case flag.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

namespace flashmorph {

/// Plain values; defaults here are those of preset `paper`, applied presets come from
/// default_config(). Meaning, unit, range and choices of each field: run_options().
struct RunConfig {
  std::string
      command;  ///< align, gates, select, eval, compare, distill, finetune, run, inspect; empty: not bound to one
  std::string preset = "recommended";

  // common
  std::string model, device = "auto", dtype = "auto";
  std::string runs, run, text = "story";
  bool resume = false, json = false, quiet = false;
  int64_t threads = 0, checkpoint_every = 0;
  int64_t seed = 1;

  std::string aligned;  ///< where aligned branches come from; "": aligned here, or the run's own
  std::string truth;    ///< table of all plans of a small model

  // align
  std::string branch = "lightning";
  std::vector<std::string> branches;
  std::string branch_rope = "auto", branch_qk_norm = "auto", branch_silu = "auto",
              branch_conv = "auto", branch_skip = "auto";
  bool branch_double_beta = false, spread = false;
  std::string decay_rule = "alibi";
  int64_t sink = 128, window = 256;
  int64_t align_steps = 300, align_batch = 32, align_micro_batch = 0, align_length = 512,
          align_warmup = 50;
  double align_lr = 1e-3, align_lr_final = 1e-5, align_clip = 1.0;
  std::string align_loss = "mse";
  int64_t align_fit_tokens = 4096, held_out_tokens = 8192, held_out_every = 0;

  // gates
  std::string constraint = "clamp";
  int64_t steps = 2000, batch = 1;
  double lr = 2e-2, lr_final = 2e-3;
  std::string lr_shape = "trapezoid", full_source = "recomputed", branch_source = "mixed",
              target = "residual", norm = "sum";
  std::string tokens = "answer", supervision = "passkey";
  std::string penalty = "0.1";  ///< number, "budget" or "path"
  double answer_weight = 10.0;
  int64_t length_min = 1000, length_max = 16000, length_count = 50;
  int64_t passkeys = 10, passkey_words = 32;
  std::string position = "input";
  int64_t text_length = 1024;

  // select
  std::string method = "local_mse";
  int64_t budget = 0, offset = 0, samples = 16, beam_width = 4;
  std::string score_file, local_tokens = "answer";
  double quality_floor = 0.0;
  std::vector<int64_t> lock_full, lock_linear;

  // distill, finetune
  std::string plan;  ///< the plan to train; "": that of init
  std::string init;  ///< a trained hybrid to go on from
  std::string train_part = "all", activation_checkpointing = "auto";
  double rest_scale = 1.0;
  int64_t probe_every = 0;
  bool preflight = false;
  int64_t measured_steps = 2;
  int64_t distill_steps = 1000, distill_batch = 96, distill_micro_batch = 0, distill_length = 512,
          distill_warmup = 50;
  double distill_lr = 1e-4, distill_lr_final = 1e-5, distill_clip = 1.0;
  int64_t finetune_steps = 100, finetune_batch = 128, finetune_micro_batch = 0,
          finetune_length = 16384, finetune_warmup = 50;
  double finetune_lr = 1e-5, finetune_lr_final = 1e-5, finetune_clip = 1.0;

  // eval, compare
  std::string task = "passkey", set, weights = "aligned";
  std::vector<int64_t> lengths = {512, 1024, 2048};
  std::vector<double> depths = {0.0, 0.25, 0.5, 0.75, 1.0};
  int64_t trials = 16;
  std::vector<std::string> plans;
  bool generate = false;
  int64_t text_tokens = 8192;

  bool operator==(const RunConfig&) const = default;
};

/// Where a value lives; the alternative is also its JSON type.
using OptionField =
    std::variant<bool RunConfig::*, int64_t RunConfig::*, double RunConfig::*,
                 std::string RunConfig::*, std::vector<int64_t> RunConfig::*,
                 std::vector<double> RunConfig::*, std::vector<std::string> RunConfig::*>;

/// One option, for every parser, form and help page.
struct RunOption {
  std::string name;  ///< JSON key, as "lr_final"
  OptionField field;
  std::vector<std::string> commands;  ///< which take it
  std::string unit;                   ///< "tokens", "steps", "1", ...; empty for words
  double low = 0, high = 0;  ///< range of numbers (each element of a list), both included; low >
                             ///< high: not a number
  std::vector<std::string> choices;  ///< words allowed; with low <= high a word or a number (as
                                     ///< penalty); empty: any text
  std::string help;                  ///< one sentence fragment
  bool integer = true;               ///< word-or-number options: only integers

  std::string flag() const;  ///< "--lr-final"
  bool takes(const std::string& command) const;
};

const std::vector<RunOption>& run_options();
const RunOption* find_option(const std::string& name);
/// Commands of run_config with a sentence each, in the order of work.
const std::vector<std::pair<std::string, std::string>>& run_commands();
/// "paper", "recommended" with a sentence each.
const std::vector<std::pair<std::string, std::string>>& run_presets();

/// The preset's values: `paper` every default of method 3.2; `recommended` supervision answer and
/// penalty budget, else the same.
RunConfig default_config(const std::string& command = {},
                         const std::string& preset = "recommended");

/// Strict: an unknown key is refused by name with the nearest known one, an option the command does
/// not take by name, a wrong type, range or word naming the field. A preset in the text is applied
/// first. where: file or request named in the sentence. command: the one that is about to run; a
/// "command" key in the text must agree. Throws Error("run", bad_request).
RunConfig parse_run_config(const std::string& json_text, const std::string& where,
                           const std::string& command = {});
RunConfig run_config_of(const nlohmann::json& json, const std::string& where,
                        const std::string& command = {});

/// Every option the command takes (all without command), so that later defaults do not change the
/// meaning of an old file.
nlohmann::json to_json(const RunConfig& config);
/// Only what differs from default_config(command, preset).
nlohmann::json changed_json(const RunConfig& config);

/// The JSON value of a flag's words, as {"--lengths", "512,1024"} or {"--penalty", "0.1"}; number
/// lists may be split by commas. A boolean flag has no words or one of true, false. Throws
/// Error(bad_request) naming the flag.
nlohmann::json value_of_flag(const RunOption& option, const std::vector<std::string>& words);

/// "flashmorph gates --model DIR --penalty 0.1 --steps 2000 --seed 1": what differs from the
/// defaults, and always steps and seed of a training command, quoted for a POSIX shell. Its words,
/// parsed again, give the same config.
std::string command_line(const RunConfig& config);

}  // namespace flashmorph
