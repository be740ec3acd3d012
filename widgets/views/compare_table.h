// SPDX-License-Identifier: GPL-3.0-or-later
// Quantities of the slots beside each other; "differences only" leaves out equal rows.
#pragma once

#include <vector>

#include <QString>
#include <QStringList>
#include <QWidget>

#include "core/run/text_export.h"
#include "widgets/views/table_model.h"

class QCheckBox;
class QTableView;

namespace flashmorph {

struct CompareRow {
  QString quantity;
  QString unit;                ///< "" where there is none
  std::vector<QString> texts;  ///< one per slot, "-": missing
  bool different() const;
};

class CompareTable : public QWidget {
  Q_OBJECT
 public:
  explicit CompareTable(QWidget* parent = nullptr);

  void setData(const QStringList& slotNames, std::vector<CompareRow> rows);
  void setDifferencesOnly(bool on);
  bool differencesOnly() const;
  TableModel* model() { return m_model; }
  /// Everything, whether shown or not.
  Table table() const;

 private:
  Table tableOf(bool all) const;
  void refresh();

  QStringList m_names;
  std::vector<CompareRow> m_rows;
  QCheckBox* m_only;
  QTableView* m_view;
  TableModel* m_model;
};

}  // namespace flashmorph
