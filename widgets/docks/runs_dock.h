// SPDX-License-Identifier: GPL-3.0-or-later
// Runs: tree with eye, color, name, method, K, recall, state; filter, sort, pin, baseline, rename.
#pragma once

#include <QDockWidget>

class QLabel;
class QLineEdit;
class QSortFilterProxyModel;
class QTreeView;

namespace flashmorph {

class RunStore;
class RunTreeModel;
class Workspace;

class RunsDock : public QDockWidget {
  Q_OBJECT
 public:
  RunsDock(RunStore* store, Workspace* workspace, QWidget* parent = nullptr);
  QString selectedRun() const;
  RunTreeModel* model() const { return m_model; }

 signals:
  void resumeAsked(const QString& uuid);
  void compareAsked(const QString& uuid);

 private:
  void menuAt(const QPoint& point);
  void trash(const QString& uuid);
  void showEmpty();

  RunStore* m_store;
  Workspace* m_workspace;
  RunTreeModel* m_model;
  QSortFilterProxyModel* m_proxy;
  QLineEdit* m_filter;
  QTreeView* m_tree;
  QLabel* m_empty;
};

}  // namespace flashmorph
