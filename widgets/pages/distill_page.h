// SPDX-License-Identifier: GPL-3.0-or-later
// Distill: form, preflight with cures, launch dialog, then loss, speed, memory, checkpoint age.
#pragma once

#include <QElapsedTimer>
#include <QHash>
#include <QTimer>
#include <QWidget>

#include "core/run/run_config.h"
#include "widgets/client/engine_client.h"

class QComboBox;
class QLabel;
class QPushButton;
class QStackedWidget;

namespace flashmorph {

class CurveChart;
class PlanChoice;
class StageForm;
class RunStore;
class Selection;
class Workspace;

class DistillPage : public QWidget {
  Q_OBJECT
 public:
  DistillPage(EngineClient* client, RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent = nullptr);

  QString stage() const;
  RunConfig config() const;
  Q_INVOKABLE QString commandLine() const;
  /// The dialog first; focus on Cancel.
  Q_INVOKABLE void launch();
  /// Without the dialog.
  void startNow();

 signals:
  void resumeRequested(const QString& run);

 private:
  void makeStage(const QString& stage, const QStringList& main);
  void changed();
  void refreshStart();
  void refreshLive();
  QString trainingRun() const;

  EngineClient* m_client;
  RunStore* m_store;
  Workspace* m_workspace;
  QComboBox* m_stage;
  PlanChoice* m_plan;
  QStackedWidget* m_forms;
  QHash<QString, StageForm*> m_stages;
  QString m_lastTraining;  // the last one that was live here
  QLabel *m_why, *m_command, *m_state, *m_probes;
  QPushButton *m_start, *m_stopAfter, *m_stopNow, *m_resume;
  CurveChart* m_loss;
  QWidget* m_live;
  QString m_liveRun;
  HeartbeatEvent m_beat;
  QElapsedTimer m_checkpoint;
  QStringList m_probeLines;
  QTimer m_soon;
  bool m_starting = false;
  QString m_said;
};

}  // namespace flashmorph
