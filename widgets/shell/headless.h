// SPDX-License-Identifier: GPL-3.0-or-later
// A picture of a page of the workbench without a screen.
#pragma once

#include <QSize>
#include <QString>

namespace flashmorph {

class MainWindow;
class RunStore;
class Workspace;

/// "1280x800"; invalid for anything else.
QSize sizeOf(const QString& text);
/// Runs the event loop until the runs are read, then grabs the page. Returns the exit code: 0, 1
/// failed, 2 bad usage; what went wrong is told on stderr.
int takeScreenshot(MainWindow& window, const QString& page, const QString& file, RunStore& store, Workspace& workspace);

}  // namespace flashmorph
