// SPDX-License-Identifier: GPL-3.0-or-later
// The only place that turns numbers with units into text for people. Missing (NaN) reads "-".
#pragma once

#include <cstdint>

#include <QString>

#include "core/run/layer_plan.h"
#include "core/run/recall_grid.h"

namespace flashmorph::format {

/// "0.79"; digits after the point.
QString number(double value, int digits = 2);
/// Up to four significant digits, whatever the size: "0.0312", "1.2e-07", "1500".
QString compact(double value);
/// "+0.12", "−0.30".
QString signedNumber(double value, int digits = 2);
/// 0.5 to "50 %".
QString percent(double share, int digits = 0);
/// "[0.76, 0.82]".
QString interval(const Interval& interval, int digits = 2);
QString signedInterval(const Interval& interval, int digits = 2);
/// "12 345" with thin spaces.
QString count(int64_t value);
/// "1 layer", "3 layers".
QString counted(int64_t value, const QString& one, const QString& many = {});
/// Context lengths: multiples of 1024 as "32k", others as they are.
QString tokens(int64_t tokens);
/// "9.1 k tokens/s".
QString tokenRate(double tokensPerSecond);
/// Decimal units: "820 B", "12.4 MB", "31 GB".
QString bytes(double bytes);
/// Binary units, for caches per token: "112 KiB", "1.5 MiB".
QString kibibytes(double bytes);
/// "14 s", "3 min 20 s", "2 h 5 min", "3 d 4 h".
QString duration(double seconds);
/// "12 of 640".
QString progress(int64_t done, int64_t total);
/// Layers for people: "1-3, 7"; "none".
QString layers(const LayerPlan& plan);
/// "p = .03", "p < .001".
QString pValue(double p);

}  // namespace flashmorph::format
