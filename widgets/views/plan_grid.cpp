// SPDX-License-Identifier: GPL-3.0-or-later
// Layers x slots.
#include "widgets/views/plan_grid.h"

#include <algorithm>

#include <QPainter>

#include "widgets/state/selection.h"
#include "widgets/views/color_scale.h"
#include "widgets/views/slot_style.h"

namespace flashmorph {

namespace {
constexpr double kLeft = 150, kRight = 12, kTop = 14, kNumbers = 18, kRow = 22;
}

PlanGrid::PlanGrid(QWidget* parent) : LayerView(QStringLiteral("plan grid"), parent) {
  setAccessibleName(tr("Plans by layer"));
  setAccessibleDescription(tr("One row per slot, one column per layer; a triangle marks layers in which the plans differ"));
  setEmptyText(tr("No plans to compare"));
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
}

void PlanGrid::setData(std::vector<PlanGridRow> rows) {
  if (!rows.empty()) {
    const int L = rows.front().plan.layers;
    std::erase_if(rows, [L](const PlanGridRow& row) { return row.plan.layers != L; });
  }
  m_rows = std::move(rows);
  updateGeometry();
  valuesChanged();
}

QSize PlanGrid::minimumSizeHint() const {
  return {320, static_cast<int>(kTop + kNumbers + kRow * std::max<double>(2, static_cast<double>(m_rows.size())) + 4)};
}

bool PlanGrid::differs(int layer) const {
  return std::any_of(m_rows.begin(), m_rows.end(), [&](const PlanGridRow& row) { return row.plan.is_full(layer) != m_rows.front().plan.is_full(layer); });
}

QRectF PlanGrid::cellRect(size_t row, int layer, const QRectF& area) const {
  const double width = std::min(40.0, (area.width() - kLeft - kRight) / std::max(1, layerCount()));
  return {area.left() + kLeft + width * layer, area.top() + kTop + kRow * static_cast<double>(row), width, kRow};
}

int PlanGrid::layerAt(QPointF position) const {
  if (layerCount() == 0) return -1;
  const QRectF first = cellRect(0, 0, QRectF(rect()));
  if (position.x() < first.left()) return -1;
  const int layer = static_cast<int>((position.x() - first.left()) / first.width());
  return layer < layerCount() ? layer : -1;
}

void PlanGrid::draw(QPainter& painter, const QRectF& area) const {
  const int L = layerCount();
  if (L == 0) return drawEmpty(painter, area);
  const QPalette colors = palette();
  QFont font = painter.font();
  font.setPixelSize(11);
  QFont bold = font;
  bold.setBold(true);
  const int hovered = selection() ? selection()->hoveredLayer() : -1;
  for (size_t r = 0; r < m_rows.size(); ++r) {
    const QRectF first = cellRect(r, 0, area);
    const QRectF badge(area.left() + 6, first.top() + 3, 16, first.height() - 6);
    painter.fillRect(badge, slotColor(m_rows[r].slot));
    painter.setFont(bold);
    painter.setPen(textOn(slotColor(m_rows[r].slot)));
    painter.drawText(badge, Qt::AlignCenter, slotLetter(m_rows[r].slot));
    painter.setFont(font);
    painter.setPen(colors.color(QPalette::Text));
    const QRectF name(badge.right() + 6, first.top(), first.left() - badge.right() - 12, first.height());
    painter.drawText(name, Qt::AlignLeft | Qt::AlignVCenter, painter.fontMetrics().elidedText(m_rows[r].name, Qt::ElideRight, static_cast<int>(name.width())));
    for (int layer = 0; layer < L; ++layer) {
      const QRectF cell = cellRect(r, layer, area).adjusted(0.5, 1.5, -0.5, -1.5);
      const bool full = m_rows[r].plan.is_full(layer);
      const QColor fill = full ? slotColor(m_rows[r].slot) : quiet(colors, 0.10);
      painter.fillRect(cell, fill);
      painter.setFont(full ? bold : font);
      painter.setPen(full ? textOn(fill) : quiet(colors));
      if (cell.width() >= 8) painter.drawText(cell, Qt::AlignCenter, full ? QStringLiteral("F") : QStringLiteral("·"));
    }
  }
  const double bottom = cellRect(m_rows.size(), 0, area).top(), width = cellRect(0, 0, area).width();
  const int every = width >= 18 ? 1 : width >= 9 ? 4 : 8;
  painter.setFont(font);
  painter.setRenderHint(QPainter::Antialiasing, true);
  for (int layer = 0; layer < L; ++layer) {
    const QRectF column(cellRect(0, layer, area).topLeft(), QSizeF(width, bottom - area.top() - kTop));
    if (differs(layer)) {
      painter.setBrush(readable(QColor(0xd9741a), colors, 3));
      painter.setPen(Qt::NoPen);
      const QPointF tip(column.center().x(), column.top() - 2);
      painter.drawPolygon(QPolygonF{tip, tip + QPointF(-4, -7), tip + QPointF(4, -7)});
      painter.setBrush(Qt::NoBrush);
    }
    const bool selected = selection() && selection()->isSelected(layer);
    if (selected || layer == hovered) {
      painter.setPen(QPen(colors.color(QPalette::Text), selected ? 2 : 1));
      painter.drawRect(column.adjusted(0.5, 0.5, -0.5, -0.5));
    }
    painter.setPen(differs(layer) ? colors.color(QPalette::Text) : quiet(colors));
    if (layer % every == 0) painter.drawText(QRectF(column.center().x() - 16, bottom + 1, 32, kNumbers), Qt::AlignHCenter | Qt::AlignTop, QString::number(layer));
  }
  painter.setPen(quiet(colors));
  painter.drawText(QRectF(area.left() + 6, bottom + 1, kLeft - 12, kNumbers), Qt::AlignLeft | Qt::AlignTop, tr("layer"));
}

QString PlanGrid::tipOf(int layer) const {
  QString text = tr("layer %1").arg(layer);
  for (const PlanGridRow& row : m_rows) text += u'\n' + slotLetter(row.slot) + (row.plan.is_full(layer) ? tr(": full") : tr(": linear"));
  return text;
}

Table PlanGrid::table() const {
  Table out{{"slot", "name", "layer", "full", "differs"}, {}};
  for (const PlanGridRow& row : m_rows)
    for (int layer = 0; layer < row.plan.layers; ++layer)
      out.rows.push_back({slotLetter(row.slot).toStdString(), row.name.toStdString(), static_cast<int64_t>(layer), static_cast<int64_t>(row.plan.is_full(layer)), static_cast<int64_t>(differs(layer))});
  return out;
}

}  // namespace flashmorph
