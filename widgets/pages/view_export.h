// SPDX-License-Identifier: GPL-3.0-or-later
// Pictures and data of a painted view: PNG, SVG, CSV, JSON in long form.
#pragma once

#include <vector>

#include <QSize>
#include <QString>

#include "core/run/text_export.h"

class QWidget;

namespace flashmorph {

class View;

enum class ExportFormat { png, svg, csv, json };

/// By the ending of a file name (.png .svg .csv .json), nothing for others.
bool formatOfFile(const QString& file, ExportFormat& format);

/// Writes the view as it is, in light colors for pictures so that they fit paper. size: in pixels at
/// scale 1; empty: the view's own. scale: 1..4, PNG only. Returns why not; empty: written, whole.
QString exportView(View& view, ExportFormat format, const QString& file, double scale = 1, QSize size = {});
QString exportTable(const Table& table, ExportFormat format, const QString& file);
/// Several views in one picture, under each other.
QString exportViews(const std::vector<View*>& views, const std::vector<int>& heights, int width, ExportFormat format, const QString& file, double scale = 1);

/// Asks for a file and exports; says what went wrong.
void askAndExport(View& view, QWidget* parent);

}  // namespace flashmorph
