// SPDX-License-Identifier: GPL-3.0-or-later
// Order: locked full, kept free, the cut, dropped free, locked linear.
#include "widgets/views/gate_bars.h"

#include <algorithm>
#include <cmath>

#include <QPainter>

#include "core/run/gate_rank.h"
#include "widgets/format/format.h"
#include "widgets/state/selection.h"
#include "widgets/views/axis.h"
#include "widgets/views/color_scale.h"

namespace flashmorph {

namespace {
constexpr double kLeft = 64, kRight = 12, kTop = 20, kBottom = 20;

QRectF barsArea(const QRectF& area) { return area.adjusted(kLeft, kTop, -kRight, -kBottom); }
}  // namespace

GateBars::GateBars(QWidget* parent) : LayerView(QStringLiteral("gate bars"), parent) {
  setAccessibleName(tr("Scores, best first"));
  setAccessibleDescription(tr("One bar per layer, ordered by score; layers left of the cut stay full. F, L, U lock the selected layers."));
  setEmptyText(tr("No scores yet"));
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Preferred);
}

void GateBars::setData(GateBarsData data) {
  m_data = std::move(data);
  valuesChanged();
}

bool GateBars::isLocked(int layer) const {
  return static_cast<size_t>(layer) < m_data.locks.size() && m_data.locks[static_cast<size_t>(layer)] != Lock::free;
}

std::vector<int> GateBars::drawnOrder() const {
  std::vector<int> order;
  const int L = layerCount();
  if (m_data.solution.plan.layers != L) return LayerView::drawnOrder();
  const auto lockIs = [&](int l, Lock lock) { return isLocked(l) && m_data.locks[static_cast<size_t>(l)] == lock; };
  for (int l = 0; l < L; ++l)
    if (lockIs(l, Lock::full)) order.push_back(l);
  order.insert(order.end(), m_data.solution.order.begin(), m_data.solution.order.end());
  for (int l = 0; l < L; ++l)
    if (lockIs(l, Lock::linear)) order.push_back(l);
  return order;
}

QRectF GateBars::columnRect(int layer, const QRectF& area) const {
  const auto order = drawnOrder();
  const auto at = std::find(order.begin(), order.end(), layer);
  if (at == order.end()) return {};
  const QRectF bars = barsArea(area);
  const double width = std::min(44.0, bars.width() / static_cast<double>(order.size()));
  return {bars.left() + width * static_cast<double>(at - order.begin()), bars.top(), width, bars.height()};
}

double GateBars::cutX(const QRectF& area) const {
  if (m_data.solution.first_dropped >= 0) return columnRect(m_data.solution.first_dropped, area).left();
  if (m_data.solution.last_kept >= 0) return columnRect(m_data.solution.last_kept, area).right();
  return -1;
}

int GateBars::layerAt(QPointF position) const {
  const QRectF bars = barsArea(QRectF(rect())).adjusted(0, -kTop, 0, kBottom);
  const auto order = drawnOrder();
  if (order.empty() || !bars.contains(position)) return -1;
  const double width = std::min(44.0, bars.width() / static_cast<double>(order.size()));
  const auto column = static_cast<size_t>((position.x() - bars.left()) / width);
  return column < order.size() ? order[column] : -1;
}

void GateBars::draw(QPainter& painter, const QRectF& area) const {
  const int L = layerCount();
  if (L == 0) return drawEmpty(painter, area);
  const QPalette colors = palette();
  const BudgetSolution& solution = m_data.solution;
  const QRectF bars = barsArea(area);
  double low = 0, high = 0;
  for (const double s : m_data.score)
    if (std::isfinite(s)) {
      low = std::min(low, s);
      high = std::max(high, s);
    }
  if (!(high > low)) high = low + 1;
  if (low == 0 && high <= 1 && high > 0.3) high = 1;  // gates: the whole range, so runs compare
  const double scale = bars.height() / (high - low), zero = bars.bottom() + low * scale;
  QFont font = painter.font();
  font.setPixelSize(11);
  painter.setFont(font);
  for (const double tick : roundTicks(low, high, 2)) {
    const double y = zero - tick * scale;
    painter.setPen(quiet(colors, 0.14));
    painter.drawLine(QPointF(bars.left(), y), QPointF(bars.right(), y));
    painter.setPen(quiet(colors));
    painter.drawText(QRectF(bars.left() - 50, y - 8, 44, 16), Qt::AlignRight | Qt::AlignVCenter, format::compact(tick));
  }
  painter.setPen(quiet(colors));
  painter.drawText(QRectF(area.left() + 4, area.top(), kLeft - 8, kTop), Qt::AlignLeft | Qt::AlignVCenter, tr("sorted"));
  painter.drawText(QRectF(area.left() + 4, bars.bottom(), kLeft - 8, kBottom), Qt::AlignLeft | Qt::AlignVCenter, tr("layer"));
  const auto order = drawnOrder();
  const int hovered = selection() ? selection()->hoveredLayer() : -1;
  for (const int layer : order) {
    const QRectF column = columnRect(layer, area);
    const double score = m_data.score[static_cast<size_t>(layer)];
    const bool kept = solution.plan.layers == L && solution.plan.is_full(layer);
    const bool selected = selection() && selection()->isSelected(layer);
    if (selected || layer == hovered) {
      QColor wash = colors.color(QPalette::Highlight);
      wash.setAlphaF(selected ? 0.30F : 0.16F);
      painter.fillRect(column.adjusted(0, 0, 0, kBottom), wash);
    }
    if (std::isfinite(score)) {
      const double gap = std::clamp(column.width() * 0.16, 1.0, 4.0);
      QRectF bar(QPointF(column.left() + gap, zero - score * scale), QPointF(column.right() - gap, zero));
      bar = bar.normalized();
      if (bar.height() < 1.5) bar = QRectF(bar.left(), zero - 1.5, bar.width(), 1.5);
      const QColor color = layerColor(layer, L);
      if (kept && !m_data.provisional) {
        painter.fillRect(bar, color);
      } else if (kept) {  // provisional: striped
        painter.fillRect(bar, quiet(colors, 0.05));
        painter.fillRect(bar, QBrush(color, Qt::BDiagPattern));
        painter.setPen(QPen(color, 1));
        painter.drawRect(bar.adjusted(0.5, 0.5, -0.5, -0.5));
      } else {
        QColor pale = color;
        pale.setAlphaF(0.22F);
        painter.fillRect(bar, pale);
        painter.setPen(QPen(color, 1));
        painter.drawRect(bar.adjusted(0.5, 0.5, -0.5, -0.5));
      }
    }
    if (std::find(solution.band.begin(), solution.band.end(), layer) != solution.band.end()) {
      painter.setPen(QPen(readable(QColor(0xd9741a), colors, 3), 2));
      painter.drawLine(QPointF(column.left() + 2, bars.bottom() + 1.5), QPointF(column.right() - 2, bars.bottom() + 1.5));
    }
    if (isLocked(layer)) {
      painter.setPen(colors.color(QPalette::Text));
      painter.drawText(QRectF(column.left(), area.top(), column.width(), kTop), Qt::AlignCenter,
                       m_data.locks[static_cast<size_t>(layer)] == Lock::full ? QStringLiteral("F") : QStringLiteral("L"));
    }
    QFont label = font;
    label.setPixelSize(column.width() < 16 ? 9 : 11);
    label.setBold(kept || selected);
    painter.setFont(label);
    painter.setPen(kept || selected ? colors.color(QPalette::Text) : quiet(colors));
    if (column.width() >= painter.fontMetrics().horizontalAdvance(QStringLiteral("00")) + 1 || layer % 4 == 0 || selected)
      painter.drawText(QRectF(column.center().x() - 14, bars.bottom() + 3, 28, kBottom - 3), Qt::AlignHCenter | Qt::AlignVCenter, QString::number(layer));
    painter.setFont(font);
  }
  const double x = cutX(area);
  if (x >= 0) {
    painter.setPen(QPen(colors.color(QPalette::Text), 2, solution.close || solution.undetermined ? Qt::DashLine : Qt::SolidLine));
    painter.drawLine(QPointF(x, area.top() + 4), QPointF(x, bars.bottom() + kBottom - 4));
    QString text = solution.undetermined ? tr("undetermined: equal scores") : solution.gap ? tr("gap %1%2").arg(format::number(*solution.gap, 3), solution.close ? tr(", close") : QString()) : QString();
    if (!text.isEmpty()) {
      const double width = painter.fontMetrics().horizontalAdvance(text) + 10;
      const bool fitsRight = x + width < area.right();
      const QRectF place(fitsRight ? x + 5 : x - 5 - width, area.top() + 1, width, kTop - 2);
      painter.fillRect(place, colors.color(QPalette::Base));
      painter.setPen(solution.close || solution.undetermined ? readable(QColor(0xd9741a), colors) : colors.color(QPalette::Text));
      painter.drawText(place, (fitsRight ? Qt::AlignLeft : Qt::AlignRight) | Qt::AlignVCenter, text);
    }
  }
}

QString GateBars::tipOf(int layer) const {
  const auto order = drawnOrder();
  const auto rank = rank_order(m_data.score, {});
  const auto at = std::find(rank.begin(), rank.end(), layer) - rank.begin() + 1;
  QString text = tr("layer %1, score %2, rank %3 of %4").arg(layer).arg(format::number(m_data.score[static_cast<size_t>(layer)], 4)).arg(at).arg(rank.size());
  if (m_data.solution.plan.layers == layerCount()) text += m_data.solution.plan.is_full(layer) ? tr("\nstays full") : tr("\nbecomes linear");
  if (isLocked(layer)) text += tr(", locked");
  return text + tr("\nF full, L linear, U free");
}

Table GateBars::table() const {
  Table out{{"place", "layer", "score", "kept", "lock"}, {}};
  static constexpr const char* kLocks[] = {"free", "full", "linear"};
  int64_t place = 0;
  for (const int layer : drawnOrder()) {
    const auto l = static_cast<size_t>(layer);
    out.rows.push_back({++place, static_cast<int64_t>(layer), m_data.score[l],
                        static_cast<int64_t>(m_data.solution.plan.layers == layerCount() && m_data.solution.plan.is_full(layer)),
                        std::string(kLocks[l < m_data.locks.size() ? static_cast<size_t>(m_data.locks[l]) : 0])});
  }
  return out;
}

}  // namespace flashmorph
