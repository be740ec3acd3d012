// SPDX-License-Identifier: GPL-3.0-or-later
// Pictures without a window on a screen: a view of a run, a page of the workbench.
#pragma once

#include <QSize>
#include <QString>
#include <QStringList>

namespace flashmorph {

class MainWindow;
class RunStore;
class Workspace;

struct ExportRequest {
  QString view, run, file;
  int scale = 1;         ///< 1 to 4
  QSize size;            ///< invalid: as the view likes it
  QString theme = QStringLiteral("light");
  QString set, plan;     ///< recall views; empty: the first set, the run's plan
};

const QStringList& exportViewNames();
/// "1280x800"; invalid for anything else.
QSize sizeOf(const QString& text);
/// Writes the picture (.png, .svg) or the values (.csv, .json). Returns the exit code: 0, 1 failed, 2
/// bad usage; what went wrong is told on stderr.
int exportView(const ExportRequest& request);
/// Runs the event loop until the runs are read, then grabs the page.
int takeScreenshot(MainWindow& window, const QString& page, const QString& file, RunStore& store, Workspace& workspace);

}  // namespace flashmorph
