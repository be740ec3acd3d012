// SPDX-License-Identifier: GPL-3.0-or-later
// One row of cells.
#include "widgets/views/plan_strip.h"

#include <algorithm>
#include <cmath>

#include <QPainter>

#include "widgets/state/selection.h"
#include "widgets/views/color_scale.h"

namespace flashmorph {

namespace {
constexpr double kLeft = 64, kRight = 12, kNumbers = 16;
}

PlanStrip::PlanStrip(QWidget* parent) : LayerView(QStringLiteral("plan strip"), parent) {
  setAccessibleName(tr("Plan by depth"));
  setAccessibleDescription(tr("One cell per layer from first to last: F stays full, a dot becomes linear"));
  setEmptyText(tr("No plan yet"));
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
}

void PlanStrip::setData(const LayerPlan& plan, const std::vector<Lock>& locks) {
  m_plan = plan;
  m_locks = locks;
  setAccessibleDescription(tr("Layers that stay full: %1 of %2").arg(m_plan.budget()).arg(m_plan.layers));
  valuesChanged();
}

QRectF PlanStrip::cellRect(int layer, const QRectF& area) const {
  const double width = std::min(44.0, (area.width() - kLeft - kRight) / std::max(1, m_plan.layers));
  return {area.left() + kLeft + width * layer, area.top() + 4, width, area.height() - kNumbers - 6};
}

int PlanStrip::layerAt(QPointF position) const {
  if (m_plan.layers == 0) return -1;
  const QRectF first = cellRect(0, QRectF(rect()));
  if (position.x() < first.left()) return -1;
  const int layer = static_cast<int>((position.x() - first.left()) / first.width());
  return layer < m_plan.layers ? layer : -1;
}

void PlanStrip::draw(QPainter& painter, const QRectF& area) const {
  if (m_plan.layers == 0) return drawEmpty(painter, area);
  const QPalette colors = palette();
  QFont font = painter.font();
  font.setPixelSize(11);
  painter.setFont(font);
  painter.setPen(quiet(colors));
  const QRectF first = cellRect(0, area);
  painter.drawText(QRectF(area.left() + 4, first.top(), kLeft - 8, first.height()), Qt::AlignLeft | Qt::AlignVCenter, tr("depth"));
  const int every = first.width() >= 18 ? 1 : first.width() >= 9 ? 4 : 8;
  const int hovered = selection() ? selection()->hoveredLayer() : -1;
  for (int layer = 0; layer < m_plan.layers; ++layer) {
    const QRectF cell = cellRect(layer, area).adjusted(0.5, 0, -0.5, 0);
    const bool full = m_plan.is_full(layer), selected = selection() && selection()->isSelected(layer);
    const QColor fill = full ? layerColor(layer, m_plan.layers) : quiet(colors, 0.12);
    painter.fillRect(cell, fill);
    QFont mark = font;
    mark.setBold(full);
    painter.setFont(mark);
    painter.setPen(full ? textOn(fill) : quiet(colors));
    if (cell.width() >= 8) painter.drawText(cell, Qt::AlignCenter, full ? QStringLiteral("F") : QStringLiteral("·"));
    painter.setFont(font);
    if (static_cast<size_t>(layer) < m_locks.size() && m_locks[static_cast<size_t>(layer)] != Lock::free)
      painter.fillRect(QRectF(cell.left(), cell.top() - 4, cell.width(), 3), colors.color(QPalette::Text));
    if (selected || layer == hovered) {
      painter.setPen(QPen(colors.color(QPalette::Text), selected ? 2 : 1));
      painter.setBrush(Qt::NoBrush);
      painter.drawRect(cell.adjusted(0.5, 0.5, -0.5, -0.5));
    }
    if (layer % every == 0) {
      painter.setPen(quiet(colors));
      painter.drawText(QRectF(cell.center().x() - 16, area.bottom() - kNumbers, 32, kNumbers), Qt::AlignHCenter | Qt::AlignTop, QString::number(layer));
    }
  }
}

QString PlanStrip::tipOf(int layer) const {
  QString text = m_plan.is_full(layer) ? tr("layer %1 stays full").arg(layer) : tr("layer %1 becomes linear").arg(layer);
  if (static_cast<size_t>(layer) < m_locks.size() && m_locks[static_cast<size_t>(layer)] != Lock::free) text += tr(", locked");
  return text;
}

Table PlanStrip::table() const {
  Table out{{"layer", "full", "lock"}, {}};
  static constexpr const char* kLocks[] = {"free", "full", "linear"};
  for (int layer = 0; layer < m_plan.layers; ++layer)
    out.rows.push_back({static_cast<int64_t>(layer), static_cast<int64_t>(m_plan.is_full(layer)),
                        std::string(kLocks[static_cast<size_t>(layer) < m_locks.size() ? static_cast<size_t>(m_locks[static_cast<size_t>(layer)]) : 0])});
  return out;
}

}  // namespace flashmorph
