// SPDX-License-Identifier: GPL-3.0-or-later
// What made the scores of a run.
#pragma once

#include <QString>

#include "core/run/run_record.h"

namespace flashmorph {

/// "gates", the method of a select run, or nothing for kinds without scores.
inline QString methodOf(const RunRecord& record) {
  if (record.kind == "select" && record.config.is_object() && record.config.contains("method") && record.config["method"].is_string())
    return QString::fromStdString(record.config["method"].get<std::string>());
  return record.gates.alpha.empty() && record.kind != "gates" ? QString() : QStringLiteral("gates");
}

}  // namespace flashmorph
