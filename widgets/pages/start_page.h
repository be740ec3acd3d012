// SPDX-License-Identifier: GPL-3.0-or-later
// Start: recent runs and models, a place to drop either, Demo and Replay.
#pragma once

#include <QWidget>

class QListWidget;

namespace flashmorph {

class EngineClient;
class RunStore;
class Selection;
class Workspace;

class StartPage : public QWidget {
  Q_OBJECT
 public:
  StartPage(EngineClient* client, RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent = nullptr);

 signals:
  void openAsked(const QString& path);
  void demoAsked();
  void replayAsked(const QString& path);

 private:
  void refresh();

  Workspace* m_workspace;
  QListWidget *m_runs, *m_models;
};

}  // namespace flashmorph
