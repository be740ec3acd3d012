// SPDX-License-Identifier: GPL-3.0-or-later
// hybrid_config.json from a run alone, for when there is no engine.
#pragma once

#include <QString>

#include "core/run/hybrid_config.h"
#include "core/run/run_record.h"

namespace flashmorph {

/// The plan with everything the run file knows about where it came from.
HybridConfig planExport(const RunRecord& record, const LayerPlan& plan, const std::vector<Lock>& locks);

}  // namespace flashmorph
