// SPDX-License-Identifier: Apache-2.0
// Whatever was thrown, as an Error of the protocol.
#pragma once

#include <exception>
#include <string>

#include "core/run/error.h"

namespace flashmorph {

/// Error as it is; out of memory and lost devices get their codes, anything else is internal, with
/// the first line of its text. stage: where, if the exception does not say.
Error error_of(const std::exception_ptr& thrown, const std::string& stage);

}  // namespace flashmorph
