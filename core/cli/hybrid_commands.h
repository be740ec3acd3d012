// SPDX-License-Identifier: Apache-2.0
// distill and finetune from the command line: one plan, several with equal tokens, or only their
// preflight.
#pragma once

#include "core/cli/program.h"
#include "core/run/run_config.h"

namespace flashmorph {

int hybrid_body(CommandContext& context, const RunConfig& config);

}  // namespace flashmorph
