// SPDX-License-Identifier: GPL-3.0-or-later
// Table to item model.
#include "widgets/views/table_model.h"

#include <algorithm>
#include <cmath>

#include "widgets/format/format.h"

namespace flashmorph {

void TableModel::setTable(Table table) {
  if (table.columns != m_table.columns) {
    beginResetModel();
    m_table = std::move(table);
    endResetModel();
    return;
  }
  const int before = static_cast<int>(m_table.rows.size()), after = static_cast<int>(table.rows.size());
  if (after > before) {
    beginInsertRows({}, before, after - 1);
    m_table.rows.resize(table.rows.size(), std::vector<TableValue>(m_table.columns.size()));
    endInsertRows();
  } else if (after < before) {
    beginRemoveRows({}, after, before - 1);
    m_table.rows.resize(table.rows.size());
    endRemoveRows();
  }
  m_table = std::move(table);
  if (after > 0) emit dataChanged(index(0, 0), index(after - 1, columnCount() - 1));
}

int TableModel::rowCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : static_cast<int>(m_table.rows.size());
}

int TableModel::columnCount(const QModelIndex& parent) const {
  return parent.isValid() ? 0 : static_cast<int>(m_table.columns.size());
}

QVariant TableModel::data(const QModelIndex& index, int role) const {
  if (!checkIndex(index, CheckIndexOption::IndexIsValid)) return {};
  const auto& row = m_table.rows[static_cast<size_t>(index.row())];
  if (static_cast<size_t>(index.column()) >= row.size()) return {};
  const TableValue& value = row[static_cast<size_t>(index.column())];
  const auto* whole = std::get_if<int64_t>(&value);
  const auto* real = std::get_if<double>(&value);
  const auto* text = std::get_if<std::string>(&value);
  switch (role) {
    case Qt::DisplayRole:
      if (whole) return QString::number(*whole);
      if (real) return format::compact(*real);
      if (text) return QString::fromStdString(*text);
      return format::compact(std::nan(""));
    case SortRole:
      if (whole) return QVariant::fromValue<qlonglong>(*whole);
      if (real && std::isfinite(*real)) return *real;
      if (text) return QString::fromStdString(*text);
      return {};
    case Qt::TextAlignmentRole:
      return QVariant::fromValue((text ? Qt::AlignLeft : Qt::AlignRight) | Qt::AlignVCenter);
    default: return {};
  }
}

QVariant TableModel::headerData(int section, Qt::Orientation orientation, int role) const {
  if (role != Qt::DisplayRole || section < 0) return {};
  if (orientation == Qt::Vertical) return section + 1;
  if (static_cast<size_t>(section) >= m_table.columns.size()) return {};
  return QString::fromStdString(m_table.columns[static_cast<size_t>(section)]);
}

}  // namespace flashmorph
