// SPDX-License-Identifier: Apache-2.0
// The engine's one error type: what happened, where, and what to do next. Bad input never ends in a
// crash.
#pragma once

#include <stdexcept>
#include <string>

namespace flashmorph {

/// Codes of the wire protocol; the command line turns them into exit codes (exit_code).
enum class ErrorCode : int {
  parse_error = -32700,      ///< a line that is no JSON
  invalid_request = -32600,  ///< JSON, but no request
  method_not_found = -32601,
  bad_request = -32602,  ///< unknown or impossible parameter: usage
  internal = -32603,
  protocol = 1001,
  no_hello = 1002,
  busy = 1003,
  not_found = 1004,
  no_model = 1005,
  unsupported_model = 1006,
  bad_file = 1007,
  out_of_memory = 1008,
  disk_full = 1009,
  non_finite = 1010,
  run_in_use = 1011,
  file_too_new = 1012,
  export_refused = 1013,
  device_lost = 1014,
  plan_impossible = 1015,
  stopped = 1100,  ///< the user stopped a job that can be resumed
};

/// Thrown by core; caught by the job runner and the command line only.
class Error : public std::runtime_error {
 public:
  /// stage: "load", "align", "gates", "select", "eval", "export", "run"; message: what and where,
  /// one sentence; hint: the next step, may be empty.
  Error(std::string stage, ErrorCode code, std::string message, std::string hint = {});

  const std::string& stage() const { return stage_; }
  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }
  const std::string& hint() const { return hint_; }

 private:
  std::string stage_;
  ErrorCode code_;
  std::string message_;
  std::string hint_;
};

/// 0 done, 1 failed, 2 bad input or usage, 3 stopped and resumable (workbench.md 5).
int exit_code(ErrorCode code);

}  // namespace flashmorph
