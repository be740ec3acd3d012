// SPDX-License-Identifier: Apache-2.0
#include "core/run/error.h"

namespace flashmorph {

Error::Error(std::string stage, ErrorCode code, std::string message, std::string hint)
    : std::runtime_error(hint.empty() ? message : message + " (" + hint + ")"),
      stage_(std::move(stage)),
      code_(code),
      message_(std::move(message)),
      hint_(std::move(hint)) {}

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::bad_request:
    case ErrorCode::not_found:
    case ErrorCode::unsupported_model:
    case ErrorCode::bad_file:
    case ErrorCode::file_too_new:
    case ErrorCode::export_refused:
    case ErrorCode::plan_impossible:
      return 2;
    case ErrorCode::stopped:
      return 3;
    default:
      return 1;
  }
}

}  // namespace flashmorph
