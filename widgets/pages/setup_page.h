// SPDX-License-Identifier: GPL-3.0-or-later
// Setup: model with what the engine says about it, stage and options, preflight, launch.
#pragma once

#include <map>

#include <QHash>
#include <QTimer>
#include <QWidget>

#include "core/run/run_config.h"
#include "widgets/client/engine_client.h"

class QComboBox;
class QLabel;
class QLineEdit;
class QPushButton;
class QStackedWidget;

namespace flashmorph {

class StageForm;
class RunStore;
class Selection;
class Workspace;

class SetupPage : public QWidget {
  Q_OBJECT
 public:
  SetupPage(EngineClient* client, RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent = nullptr);

  void setModel(const QString& path);
  /// The demo's teacher, branches and options.
  void loadDemo(const QString& resources);
  QString stage() const;
  RunConfig config() const;
  /// The launch as one line for a shell.
  Q_INVOKABLE QString commandLine() const;
  Q_INVOKABLE void launch();

 signals:
  void launched(const QString& run);  ///< uuid, or empty while unknown

 private:
  void makeStage(const QString& stage, const QStringList& main);
  void inspect();
  void showModel(const Reply& reply);
  void changed();
  void applyPreset(const QString& name);
  void keepEvalSet(const QString& run);
  void refreshLaunch();
  void refreshAligned();

  nlohmann::json m_evalSet;  ///< of the preset chosen: saved with the run that is started; null: none
  EngineClient* m_client;
  RunStore* m_store;
  Workspace* m_workspace;
  QLineEdit* m_model;
  QLabel *m_about, *m_why, *m_command;
  QComboBox *m_stage, *m_preset, *m_aligned;
  QStackedWidget* m_forms;
  QPushButton* m_launch;
  QHash<QString, StageForm*> m_stages;
  QString m_truth;
  QTimer m_inspectSoon;
  bool m_starting = false, m_modelOk = false;
};

}  // namespace flashmorph
