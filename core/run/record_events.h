// SPDX-License-Identifier: Apache-2.0
// Events entered into a record: how a live run, and a journal after a crash, become the same
// values.
#pragma once

#include "core/run/event.h"
#include "core/run/run_record.h"

namespace flashmorph {

/// Step rows, cells, held-out errors and the state of the run's own job. Rows at or before the last
/// step and trials already there are dropped, so applying twice changes nothing; other events
/// change nothing. Cells need their eval set in the record (keep_set); an unknown plan is saved
/// under its text form. Throws Error("run", bad_request) for rows that do not fit (layer count,
/// axes); the record is then unchanged.
void apply_event(RunRecord& record, const Event& event);

/// Whether apply_event does anything with such an event.
bool is_recorded(const Event& event);

}  // namespace flashmorph
