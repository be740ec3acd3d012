// SPDX-License-Identifier: GPL-3.0-or-later
// `flashmorph-workbench --export VIEW RUN -o FILE`: a picture or table of a run file alone, without
// a display (offscreen platform).
#pragma once

#include <QSize>
#include <QString>
#include <QStringList>

namespace flashmorph {

struct RunExport {
  QString view;        ///< one of exportViewNames()
  QString run;         ///< folder with run.fmrun, or the file
  QString file;        ///< .png .svg .csv .json
  double scale = 1;    ///< PNG: 1..4
  QSize size;          ///< empty: the view's default
  QString plan;        ///< recall, compare: text form or saved name or id; several by ';'. Empty: the run's own plan (compare: all evaluated)
  QString set;         ///< eval set; empty: the newest
  QString colors;      ///< cividis, viridis, red-yellow-green
  int budget = -1;     ///< select, strip: K; -1: the run's own
};

/// gates, lines, strip, select, recall, compare, plans, curves.
QStringList exportViewNames();
/// Returns why not: one sentence with a next step; empty: written. Needs a QApplication.
QString exportRun(const RunExport& request);

}  // namespace flashmorph
