// SPDX-License-Identifier: GPL-3.0-or-later
// The open runs as a tree: children under the run they come from. Columns: name, method, K, recall,
// state; raw numbers in SortRole.
#pragma once

#include <vector>

#include <QAbstractItemModel>
#include <QColor>

namespace flashmorph {

class RunStore;
class Workspace;

class RunTreeModel : public QAbstractItemModel {
  Q_OBJECT
 public:
  enum Column { NameColumn, MethodColumn, BudgetColumn, RecallColumn, StateColumn, ColumnCount };
  enum Role { SortRole = Qt::UserRole, UuidRole, ColorRole, PinnedRole, ProblemRole };

  RunTreeModel(RunStore* store, Workspace* workspace, QObject* parent = nullptr);

  QModelIndex index(int row, int column, const QModelIndex& parent = {}) const override;
  QModelIndex parent(const QModelIndex& index) const override;
  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
  QVariant headerData(int section, Qt::Orientation orientation, int role = Qt::DisplayRole) const override;
  Qt::ItemFlags flags(const QModelIndex& index) const override;
  bool setData(const QModelIndex& index, const QVariant& value, int role = Qt::EditRole) override;

  QString uuidAt(const QModelIndex& index) const;
  QModelIndex indexOf(const QString& uuid) const;

 private:
  struct Node {
    QString uuid;
    int parent = -1;  ///< index into m_nodes, -1: root
    std::vector<int> children;
  };
  void rebuild();
  void changed(const QString& uuid);
  void changedAll();
  const std::vector<int>& childrenOf(int node) const { return node < 0 ? m_roots : m_nodes[static_cast<size_t>(node)].children; }
  int rowOf(int node) const;

  RunStore* m_store;
  Workspace* m_workspace;
  std::vector<Node> m_nodes;
  std::vector<int> m_roots;
};

}  // namespace flashmorph
