// SPDX-License-Identifier: GPL-3.0-or-later
// Export: targets with ok, warning or refused and why; the plan alone also without an engine.
#pragma once

#include <QMap>
#include <QTimer>
#include <QWidget>

#include "widgets/client/engine_client.h"

class QComboBox;
class QLabel;
class QPushButton;
class QTableWidget;

namespace flashmorph {

class PlanChoice;
class RunStore;
class Selection;
class Workspace;

class ExportPage : public QWidget {
  Q_OBJECT
 public:
  ExportPage(EngineClient* client, RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent = nullptr);

  Q_INVOKABLE QString commandLine() const;
  Q_INVOKABLE void launch();
  /// Writes hybrid_config.json of the chosen plan. false: refused, the reason is on the page.
  bool writePlan(const QString& file);
  QString chosenTarget() const;

 private:
  struct Target {
    QString name, what, level, why;
  };
  void ask();
  void showTargets();
  void refreshButtons();
  nlohmann::json params() const;
  void say(const QString& text);

  EngineClient* m_client;
  RunStore* m_store;
  Workspace* m_workspace;
  PlanChoice* m_plan;
  QComboBox* m_dtype;
  QTableWidget* m_table;
  QLabel *m_said, *m_why, *m_head;
  QPushButton *m_export, *m_planFile;
  QList<Target> m_targets;
  QString m_command, m_job;
  QTimer m_soon;
  quint64 m_number = 0;
};

}  // namespace flashmorph
