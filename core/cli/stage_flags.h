// SPDX-License-Identifier: Apache-2.0
// Flags of the stage commands, made from the one description in core/run/run_config, and --config beside them.
#pragma once

#include <memory>
#include <string>

#include <CLI/App.hpp>

#include "core/run/run_config.h"

namespace flashmorph {

/// What the parser fills: words of every flag that was given.
class StageFlags {
 public:
  /// Declares every option that `command` takes, and --config FILE.
  StageFlags(CLI::App& app, const std::string& command);
  /// The file of --config first, flags on top; equal to the same JSON with --config. Throws Error(bad_request, not_found).
  RunConfig config() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace flashmorph
