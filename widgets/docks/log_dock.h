// SPDX-License-Identifier: GPL-3.0-or-later
// Log: events of jobs, runs and engine with their time; the engine's raw output beside.
#pragma once

#include <QDockWidget>

class QPlainTextEdit;
class QTabWidget;

namespace flashmorph {

class EngineClient;

class LogDock : public QDockWidget {
  Q_OBJECT
 public:
  explicit LogDock(EngineClient* client, QWidget* parent = nullptr);
  void add(const QString& line);

 private:
  QTabWidget* m_tabs;
  QPlainTextEdit *m_events, *m_output;
};

}  // namespace flashmorph
