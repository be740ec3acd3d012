// SPDX-License-Identifier: Apache-2.0
// Step rows gathered into one event: what 100 ms of training say in one line.
#pragma once

#include <cstdint>
#include <string>

#include "core/run/event.h"

namespace flashmorph {

/// Whether the event is align.steps, gates.steps or train.steps.
bool is_step_rows(const Event& event);
int64_t row_count(const Event& event);
/// Step number of the first row; 0 without rows.
int64_t first_step(const Event& event);
/// Roughly the bytes of its line.
size_t line_size(const Event& event);

/// Appends the rows of `more` to `into`. False, and nothing done, when they do not belong in one
/// event: other kind, job or stage, steps that do not rise, columns that only one of them has, or
/// `into` ends with a held-out error.
bool append_rows(Event& into, const Event& more);

/// Leaves the rows whose step is a multiple of `every`, and a last row that carries a held-out
/// error.
void keep_every(Event& event, int64_t every);

}  // namespace flashmorph
