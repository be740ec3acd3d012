// SPDX-License-Identifier: GPL-3.0-or-later
// Any table of values as an item model: what "Show as table", screen readers and Ctrl+C see.
#pragma once

#include <QAbstractTableModel>

#include "core/run/text_export.h"

namespace flashmorph {

class TableModel : public QAbstractTableModel {
  Q_OBJECT
 public:
  enum Role { SortRole = Qt::UserRole };  ///< raw number or text; invalid if missing
  using QAbstractTableModel::QAbstractTableModel;

  /// Rows that stay as they are keep their index; only changes are announced.
  void setTable(Table table);
  const Table& table() const { return m_table; }

  int rowCount(const QModelIndex& parent = {}) const override;
  int columnCount(const QModelIndex& parent = {}) const override;
  QVariant data(const QModelIndex& index, int role = Qt::DisplayRole) const override;
  QVariant headerData(int section, Qt::Orientation orientation, int role) const override;

 private:
  Table m_table;
};

}  // namespace flashmorph
