// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/docks/run_tree_model.h"

#include <algorithm>
#include <cmath>

#include <QFont>
#include <QHash>

#include "widgets/format/format.h"
#include "widgets/state/run_store.h"
#include "widgets/state/workspace.h"

namespace flashmorph {

RunTreeModel::RunTreeModel(RunStore* store, Workspace* workspace, QObject* parent)
    : QAbstractItemModel(parent), m_store(store), m_workspace(workspace) {
  connect(store, &RunStore::runAdded, this, &RunTreeModel::rebuild);
  connect(store, &RunStore::runRemoved, this, &RunTreeModel::rebuild);
  connect(store, &RunStore::runChanged, this, &RunTreeModel::changed);
  connect(workspace, &Workspace::nameChanged, this, &RunTreeModel::changed);
  connect(workspace, &Workspace::colorChanged, this, &RunTreeModel::changed);
  connect(workspace, &Workspace::budgetChanged, this, &RunTreeModel::changed);
  connect(workspace, &Workspace::pinsChanged, this, &RunTreeModel::changedAll);
  connect(workspace, &Workspace::restored, this, &RunTreeModel::changedAll);
  rebuild();
}

void RunTreeModel::rebuild() {
  beginResetModel();
  m_nodes.clear();
  m_roots.clear();
  QHash<QString, int> at;
  for (const QString& uuid : m_store->uuids()) {
    at[uuid] = static_cast<int>(m_nodes.size());
    m_nodes.push_back({uuid, -1, {}});
  }
  for (size_t i = 0; i < m_nodes.size(); ++i) {
    const Run* run = m_store->run(m_nodes[i].uuid);
    int parent = run ? at.value(QString::fromStdString(run->record.parent_uuid), -1) : -1;
    // A file may name itself or its child as parent: such a run is a root.
    for (int up = parent, hops = 0; up >= 0; up = m_nodes[static_cast<size_t>(up)].parent)
      if (up == static_cast<int>(i) || ++hops > 64) {
        parent = -1;
        break;
      }
    m_nodes[i].parent = parent;
    if (parent >= 0)
      m_nodes[static_cast<size_t>(parent)].children.push_back(static_cast<int>(i));
    else
      m_roots.push_back(static_cast<int>(i));
  }
  endResetModel();
}

void RunTreeModel::changed(const QString& uuid) {
  const QModelIndex at = indexOf(uuid);
  if (!at.isValid()) return;
  const Run* run = m_store->run(uuid);
  const Node& node = m_nodes[static_cast<size_t>(at.internalId())];
  const QString shownParent = node.parent < 0 ? QString() : m_nodes[static_cast<size_t>(node.parent)].uuid;
  const QString wanted = QString::fromStdString(run->record.parent_uuid);
  if (wanted != shownParent && m_store->run(wanted)) return rebuild();
  emit dataChanged(at, at.siblingAtColumn(ColumnCount - 1));
}

void RunTreeModel::changedAll() {
  for (const Node& node : m_nodes) {
    const QModelIndex at = indexOf(node.uuid);
    emit dataChanged(at, at.siblingAtColumn(ColumnCount - 1));
  }
}

int RunTreeModel::rowOf(int node) const {
  const std::vector<int>& all = childrenOf(m_nodes[static_cast<size_t>(node)].parent);
  return static_cast<int>(std::find(all.begin(), all.end(), node) - all.begin());
}

QModelIndex RunTreeModel::index(int row, int column, const QModelIndex& parent) const {
  if (parent.isValid() && parent.column() != 0) return {};
  const std::vector<int>& all = childrenOf(parent.isValid() ? static_cast<int>(parent.internalId()) : -1);
  if (row < 0 || column < 0 || column >= ColumnCount || row >= static_cast<int>(all.size())) return {};
  return createIndex(row, column, static_cast<quintptr>(all[static_cast<size_t>(row)]));
}

QModelIndex RunTreeModel::parent(const QModelIndex& index) const {
  if (!index.isValid()) return {};
  const int up = m_nodes[static_cast<size_t>(index.internalId())].parent;
  return up < 0 ? QModelIndex() : createIndex(rowOf(up), 0, static_cast<quintptr>(up));
}

int RunTreeModel::rowCount(const QModelIndex& parent) const {
  if (parent.isValid() && parent.column() != 0) return 0;
  return static_cast<int>(childrenOf(parent.isValid() ? static_cast<int>(parent.internalId()) : -1).size());
}

int RunTreeModel::columnCount(const QModelIndex&) const { return ColumnCount; }

QString RunTreeModel::uuidAt(const QModelIndex& index) const {
  return index.isValid() ? m_nodes[static_cast<size_t>(index.internalId())].uuid : QString();
}

QModelIndex RunTreeModel::indexOf(const QString& uuid) const {
  for (size_t i = 0; i < m_nodes.size(); ++i)
    if (m_nodes[i].uuid == uuid) return createIndex(rowOf(static_cast<int>(i)), 0, static_cast<quintptr>(i));
  return {};
}

QVariant RunTreeModel::data(const QModelIndex& index, int role) const {
  const Run* run = m_store->run(uuidAt(index));
  if (!run) return {};
  const QString name = !m_workspace->name(run->uuid).isEmpty() ? m_workspace->name(run->uuid) : run->displayName();
  const int K = m_workspace->budget(run->uuid);
  const bool readable = run->problem.isEmpty();
  switch (role) {
    case Qt::DisplayRole:
    case Qt::EditRole:
      switch (index.column()) {
        case NameColumn: return (m_workspace->isPinned(run->uuid) && role == Qt::DisplayRole ? QStringLiteral("⚑ ") : QString()) + name;
        case MethodColumn: return run->method.isEmpty() ? QString::fromStdString(run->record.kind) : run->method;
        case BudgetColumn: return K < 0 ? QString() : QString::number(K);
        case RecallColumn: return run->meanRecall ? format::number(*run->meanRecall) : QString();
        case StateColumn:
          if (!readable) return tr("unreadable");
          if (run->loading) return tr("reading");
          return run->stateText();
      }
      return {};
    case SortRole:
      if (index.column() == BudgetColumn) return K;
      if (index.column() == RecallColumn) return run->meanRecall.value_or(-1);
      if (index.column() == NameColumn) return (m_workspace->isPinned(run->uuid) ? u'0' : u'1') + name.toLower();
      return data(index, Qt::DisplayRole);
    case Qt::ToolTipRole:
      if (!readable) return tr("%1\n%2").arg(run->displayPath(), run->problem);
      return tr("%1\n%2, %3 layers, made %4").arg(run->displayPath(), QString::fromStdString(run->record.kind)).arg(run->layers()).arg(QString::fromStdString(run->record.created_utc));
    case Qt::DecorationRole:
      return index.column() == NameColumn ? QVariant(m_workspace->color(run->uuid)) : QVariant();
    case Qt::CheckStateRole:
      return index.column() == NameColumn ? QVariant(m_workspace->isVisible(run->uuid) ? Qt::Checked : Qt::Unchecked) : QVariant();
    case Qt::FontRole: {
      QFont font;
      font.setBold(run->uuid == m_workspace->currentRun());
      font.setItalic(!readable || run->uuid == m_workspace->baseline());
      return font;
    }
    case Qt::TextAlignmentRole:
      return index.column() == BudgetColumn || index.column() == RecallColumn ? QVariant(Qt::AlignRight | Qt::AlignVCenter) : QVariant();
    case Qt::AccessibleTextRole:
      return index.column() == NameColumn ? tr("run %1").arg(name) : data(index, Qt::DisplayRole);
    case UuidRole: return run->uuid;
    case ColorRole: return m_workspace->color(run->uuid);
    case PinnedRole: return m_workspace->isPinned(run->uuid);
    case ProblemRole: return run->problem;
  }
  return {};
}

QVariant RunTreeModel::headerData(int section, Qt::Orientation orientation, int role) const {
  if (orientation != Qt::Horizontal || role != Qt::DisplayRole) return {};
  switch (section) {
    case NameColumn: return tr("Name");
    case MethodColumn: return tr("Method");
    case BudgetColumn: return tr("K");
    case RecallColumn: return tr("Recall");
    case StateColumn: return tr("State");
  }
  return {};
}

Qt::ItemFlags RunTreeModel::flags(const QModelIndex& index) const {
  if (!index.isValid()) return Qt::NoItemFlags;
  Qt::ItemFlags flags = Qt::ItemIsEnabled | Qt::ItemIsSelectable;
  if (index.column() == NameColumn) flags |= Qt::ItemIsEditable | Qt::ItemIsUserCheckable;
  return flags;
}

bool RunTreeModel::setData(const QModelIndex& index, const QVariant& value, int role) {
  const QString uuid = uuidAt(index);
  if (uuid.isEmpty() || index.column() != NameColumn) return false;
  if (role == Qt::CheckStateRole) {
    m_workspace->setVisible(uuid, value.toInt() == Qt::Checked);
    return true;
  }
  if (role != Qt::EditRole || value.toString().trimmed().isEmpty()) return false;
  m_workspace->setName(uuid, value.toString().trimmed().left(200));
  return true;
}

}  // namespace flashmorph
