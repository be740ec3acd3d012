// SPDX-License-Identifier: GPL-3.0-or-later
// Inspector: the selected layer, cell and run with provenance; notes of the run.
#pragma once

#include <QDockWidget>
#include <QTimer>

class QLabel;
class QPlainTextEdit;

namespace flashmorph {

class RunStore;
class Selection;
class Workspace;

class InspectorDock : public QDockWidget {
  Q_OBJECT
 public:
  InspectorDock(RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent = nullptr);

 private:
  void refresh();
  QString layerText() const;
  QString cellText() const;
  QString runText() const;
  void storeNotes();

  RunStore* m_store;
  Workspace* m_workspace;
  Selection* m_selection;
  QLabel *m_layer, *m_cell, *m_run;
  QPlainTextEdit* m_notes;
  QTimer m_soon, m_typing;
  QString m_notesOf;
  bool m_setting = false;
};

}  // namespace flashmorph
