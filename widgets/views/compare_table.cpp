// SPDX-License-Identifier: GPL-3.0-or-later
// Table of a comparison.
#include "widgets/views/compare_table.h"

#include <algorithm>

#include <QCheckBox>
#include <QHeaderView>
#include <QTableView>
#include <QVBoxLayout>

namespace flashmorph {

bool CompareRow::different() const {
  return std::any_of(texts.begin(), texts.end(), [this](const QString& text) { return text != texts.front(); });
}

CompareTable::CompareTable(QWidget* parent) : QWidget(parent), m_only(new QCheckBox(tr("Differences only"), this)), m_view(new QTableView(this)), m_model(new TableModel(this)) {
  m_only->setObjectName(QStringLiteral("differences only"));
  m_view->setObjectName(QStringLiteral("compare table"));
  m_view->setAccessibleName(tr("Comparison of the slots"));
  m_view->setModel(m_model);
  m_view->verticalHeader()->setVisible(false);
  m_view->verticalHeader()->setDefaultSectionSize(22);
  m_view->horizontalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
  m_view->horizontalHeader()->setStretchLastSection(true);
  m_view->setAlternatingRowColors(true);
  m_view->setSelectionBehavior(QAbstractItemView::SelectRows);
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->addWidget(m_only);
  layout->addWidget(m_view);
  connect(m_only, &QCheckBox::toggled, this, &CompareTable::refresh);
}

void CompareTable::setData(const QStringList& slotNames, std::vector<CompareRow> rows) {
  m_names = slotNames;
  m_rows = std::move(rows);
  refresh();
}

void CompareTable::setDifferencesOnly(bool on) { m_only->setChecked(on); }
bool CompareTable::differencesOnly() const { return m_only->isChecked(); }

Table CompareTable::tableOf(bool all) const {
  Table out;
  out.columns = {tr("quantity").toStdString(), tr("unit").toStdString()};
  for (const QString& name : m_names) out.columns.push_back(name.toStdString());
  for (const CompareRow& row : m_rows) {
    if (!all && !row.different()) continue;
    std::vector<TableValue> values{row.quantity.toStdString(), row.unit.toStdString()};
    for (const QString& text : row.texts) values.emplace_back(text.toStdString());
    out.rows.push_back(std::move(values));
  }
  return out;
}

Table CompareTable::table() const { return tableOf(true); }

void CompareTable::refresh() { m_model->setTable(tableOf(!differencesOnly())); }

}  // namespace flashmorph
