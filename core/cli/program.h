// SPDX-License-Identifier: Apache-2.0
// The program `flashmorph`: one subcommand per file *_command.cpp, errors turned into one sentence and an exit code here.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <nlohmann/json.hpp>

#include "core/cli/console.h"
#include "core/run/progress.h"

namespace flashmorph {

/// What a subcommand gets when it runs.
struct CommandContext {
  Console& console;
  StopFlag stop;                     ///< set by Ctrl-C
  std::vector<std::string> command;  ///< the words of the command line, program name first

  std::string command_line() const;  ///< quoted for a shell
};

/// A subcommand: declares its flags on `app` and returns what to do when it was given. Returns the exit code.
using CommandBody = std::function<int(CommandContext&)>;

/// Flags every command has.
struct CommonFlags {
  bool json = false;
  bool quiet = false;
};

/// Parses, runs, reports. Exit codes: 0 done, 1 failed, 2 bad input or usage, 3 stopped and resumable.
int run_program(int argc, char** argv);

// The subcommands.
CommandBody add_devices_command(CLI::App& app);
CommandBody add_inspect_command(CLI::App& app);
CommandBody add_tokens_command(CLI::App& app);
CommandBody add_logits_command(CLI::App& app);
CommandBody add_corpus_command(CLI::App& app);
CommandBody add_truth_command(CLI::App& app);
/// align, gates, select, eval, compare, run: flags come from the one description in core/run/run_config.
std::vector<std::pair<std::string, std::function<CommandBody(CLI::App&)>>> stage_commands();
CommandBody add_export_command(CLI::App& app);
CommandBody add_serve_command(CLI::App& app);

}  // namespace flashmorph
