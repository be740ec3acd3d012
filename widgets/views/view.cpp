// SPDX-License-Identifier: GPL-3.0-or-later
// What all painted views share: focus frame, banner, menu, table.
#include "widgets/views/view.h"

#include <QApplication>
#include <QClipboard>
#include <QContextMenuEvent>
#include <QDialog>
#include <QElapsedTimer>
#include <QHeaderView>
#include <QKeyEvent>
#include <QMenu>
#include <QPainter>
#include <QPointer>
#include <QSortFilterProxyModel>
#include <QTableView>
#include <QVBoxLayout>

#include "widgets/state/selection.h"
#include "widgets/views/color_scale.h"
#include "widgets/views/table_model.h"

namespace flashmorph {

View::View(const QString& name, QWidget* parent) : QWidget(parent) {
  setObjectName(name);
  setAccessibleName(name);
  setFocusPolicy(Qt::StrongFocus);
  setMouseTracking(true);
  setAttribute(Qt::WA_Hover);
}

QString View::copyText() const { return QString::fromStdString(table().to_csv()); }

TableModel* View::model() {
  if (!m_model) {
    m_model = new TableModel(this);
    m_model->setTable(table());
  }
  return m_model;
}

void View::setSelection(Selection* selection) {
  if (m_selection) m_selection->disconnect(this);
  m_selection = selection;
  if (!selection) return;
  connect(selection, &Selection::layersChanged, this, [this] { selectionChanged(); });
  connect(selection, &Selection::hoveredLayerChanged, this, [this] { selectionChanged(); });
  connect(selection, &Selection::cellChanged, this, [this] { selectionChanged(); });
  connect(selection, &Selection::hoveredCellChanged, this, [this] { selectionChanged(); });
  connect(selection, &Selection::zoomChanged, this, [this] { selectionChanged(); });
}

void View::setEmptyText(const QString& text) {
  m_emptyText = text;
  update();
}

void View::setBanner(const QString& text) {
  if (text == m_banner) return;
  m_banner = text;
  update();
}

void View::valuesChanged() {
  if (m_model) m_model->setTable(table());
  update();
}

void View::drawEmpty(QPainter& painter, const QRectF& area) const {
  painter.setPen(quiet(palette()));
  painter.drawText(area.adjusted(8, 8, -8, -8), Qt::AlignCenter | Qt::TextWordWrap, m_emptyText);
}

void View::paintEvent(QPaintEvent*) {
  QElapsedTimer clock;
  clock.start();
  QPainter painter(this);
  painter.setFont(font());
  painter.fillRect(rect(), palette().color(QPalette::Base));
  if (m_banner.isEmpty()) {
    draw(painter, QRectF(rect()));
  } else {
    painter.setOpacity(0.4);
    draw(painter, QRectF(rect()));
    painter.setOpacity(1);
    const QRectF strip(0, 0, width(), painter.fontMetrics().height() + 8);
    painter.fillRect(strip, palette().color(QPalette::ToolTipBase));
    painter.setPen(palette().color(QPalette::ToolTipText));
    painter.drawText(strip.adjusted(6, 0, -6, 0), Qt::AlignVCenter | Qt::AlignLeft,
                     painter.fontMetrics().elidedText(m_banner, Qt::ElideRight, width() - 12));
  }
  if (hasFocus()) {
    painter.setRenderHint(QPainter::Antialiasing, false);
    painter.setBrush(Qt::NoBrush);
    painter.setPen(QPen(palette().color(QPalette::Highlight), 1));
    painter.drawRect(rect().adjusted(0, 0, -1, -1));
  }
  ++m_paints;
  m_longest_ms = std::max(m_longest_ms, static_cast<double>(clock.nsecsElapsed()) / 1e6);
}

void View::showTable() {
  auto* dialog = new QDialog(window());
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  dialog->setWindowTitle(tr("%1 as a table").arg(accessibleName()));
  dialog->resize(720, 480);
  auto* sorted = new QSortFilterProxyModel(dialog);
  sorted->setSortRole(TableModel::SortRole);
  sorted->setSourceModel(model());
  auto* view = new QTableView(dialog);
  view->setAccessibleName(dialog->windowTitle());
  view->setModel(sorted);
  view->setSortingEnabled(true);
  sorted->sort(-1);
  view->verticalHeader()->setVisible(false);
  view->resizeColumnsToContents();
  auto* layout = new QVBoxLayout(dialog);
  layout->addWidget(view);
  dialog->show();
}

void View::contextMenuEvent(QContextMenuEvent* event) {
  QMenu menu(this);
  fillMenu(menu);
  if (!menu.isEmpty()) menu.addSeparator();
  menu.addAction(tr("Show as &table"), this, &View::showTable);
  menu.addAction(tr("&Copy value or table"), this, [this] { QApplication::clipboard()->setText(copyText()); });
  menu.addAction(tr("&Export picture or data..."), this, [this] { emit exportRequested(this); });
  menu.exec(event->globalPos());
}

void View::keyPressEvent(QKeyEvent* event) {
  if (event->matches(QKeySequence::Copy)) {
    QApplication::clipboard()->setText(copyText());
    return;
  }
  if (event->key() == Qt::Key_E && event->modifiers() == Qt::ControlModifier) {
    emit exportRequested(this);
    return;
  }
  QWidget::keyPressEvent(event);
}

void View::changeEvent(QEvent* event) {
  if (event->type() == QEvent::PaletteChange || event->type() == QEvent::FontChange) update();
  QWidget::changeEvent(event);
}

}  // namespace flashmorph
