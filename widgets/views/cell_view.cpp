// SPDX-License-Identifier: GPL-3.0-or-later
// Axes, cells, pointing.
#include "widgets/views/cell_view.h"

#include <algorithm>
#include <cmath>

#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QPainter>
#include <QToolTip>

#include "widgets/format/format.h"

namespace flashmorph {

namespace {
constexpr double kLeft = 50, kRight = 62, kLabels = 18, kCaption = 18, kCaptionFrom = 230;
constexpr double kTitleLine = 18;
}  // namespace

CellView::CellView(const QString& name, QWidget* parent) : View(name, parent) {
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Expanding);
}

void CellView::setTitle(const QString& title, const QString& second) {
  if (title == m_title && second == m_second) return;
  m_title = title;
  m_second = second;
  update();
}

void CellView::setTrainedLength(int64_t tokens) {
  if (tokens == m_trainedLength) return;
  m_trainedLength = tokens;
  update();
}

QRectF CellView::plotRect(const QRectF& area) const {
  const double top = 6 + (m_title.isEmpty() ? 0 : kTitleLine) + (m_second.isEmpty() ? 0 : kTitleLine);
  // Low views give the caption's line to the cells.
  const double bottom = kLabels + (area.height() >= kCaptionFrom ? kCaption : 0);
  return {area.left() + kLeft, area.top() + top, std::max(1.0, area.width() - kLeft - kRight), std::max(1.0, area.height() - top - bottom)};
}

QRectF CellView::cellRect(CellRef cell, const QRectF& area) const {
  const RecallGrid* grid = axes();
  if (!grid || !cell.isValid() || grid->lengths.empty() || grid->depths.empty()) return {};
  const QRectF plot = plotRect(area);
  const double width = plot.width() / static_cast<double>(grid->lengths.size());
  const double height = plot.height() / static_cast<double>(grid->depths.size());
  return {plot.left() + width * cell.length, plot.top() + height * cell.depth, width, height};
}

CellRef CellView::cellAt(QPointF position) const {
  const RecallGrid* grid = axes();
  const QRectF plot = plotRect(QRectF(rect()));
  if (!grid || grid->lengths.empty() || grid->depths.empty() || !plot.contains(position)) return {};
  const int N = static_cast<int>(grid->lengths.size()), D = static_cast<int>(grid->depths.size());
  return {std::min(static_cast<int>((position.x() - plot.left()) / plot.width() * N), N - 1),
          std::min(static_cast<int>((position.y() - plot.top()) / plot.height() * D), D - 1)};
}

void CellView::draw(QPainter& painter, const QRectF& area) const {
  const QPalette colors = palette();
  QFont font = painter.font();
  font.setPixelSize(12);
  QFont bold = font, small = font;
  bold.setBold(true);
  small.setPixelSize(11);
  double y = area.top() + 4;
  painter.setFont(bold);
  const auto line = [&](const QString& text, const QColor& color) {
    if (text.isEmpty()) return;
    painter.setPen(color);
    painter.drawText(QRectF(area.left() + 8, y, area.width() - 12, kTitleLine), Qt::AlignLeft | Qt::AlignVCenter,
                     painter.fontMetrics().elidedText(text, Qt::ElideRight, static_cast<int>(area.width() - 14)));
    y += kTitleLine;
  };
  line(m_title, colors.color(QPalette::Text));
  painter.setFont(font);
  line(m_second, quiet(colors, 0.8));
  const RecallGrid* grid = axes();
  if (!grid || grid->lengths.empty() || grid->depths.empty()) {
    drawEmpty(painter, area.adjusted(0, y - area.top(), 0, 0));
    return;
  }
  const QRectF plot = plotRect(area);
  const int N = static_cast<int>(grid->lengths.size()), D = static_cast<int>(grid->depths.size());
  const QRectF one = cellRect({0, 0}, area);
  painter.setFont(small);
  const QFontMetricsF metrics(small);
  for (int n = 0; n < N; ++n)
    for (int d = 0; d < D; ++d) {
      const QRectF cell = cellRect({n, d}, area);
      const auto look = lookOf({n, d});
      if (!look) {
        drawHatch(painter, cell, colors);
        continue;
      }
      painter.setRenderHint(QPainter::Antialiasing, false);
      painter.fillRect(cell, look->fill);
      painter.setPen(textOn(look->fill));
      if (!look->text.isEmpty() && metrics.horizontalAdvance(look->text) + 4 <= cell.width() && metrics.height() <= cell.height())
        painter.drawText(cell, Qt::AlignCenter, look->text);
      painter.setRenderHint(QPainter::Antialiasing, true);
      if (look->dot) {
        painter.setBrush(textOn(look->fill));
        painter.drawEllipse(QPointF(cell.right() - 6, cell.top() + 6), 2.2, 2.2);
        painter.setBrush(Qt::NoBrush);
      }
      if (look->partial) {
        painter.setBrush(textOn(look->fill));
        painter.setPen(Qt::NoPen);
        painter.drawPolygon(QPolygonF{cell.bottomRight(), cell.bottomRight() - QPointF(7, 0), cell.bottomRight() - QPointF(0, 7)});
        painter.setBrush(Qt::NoBrush);
      }
    }
  painter.setRenderHint(QPainter::Antialiasing, false);
  painter.setPen(quiet(colors, 0.35));
  for (int n = 0; n <= N; ++n) painter.drawLine(QPointF(plot.left() + n * one.width(), plot.top()), QPointF(plot.left() + n * one.width(), plot.bottom()));
  for (int d = 0; d <= D; ++d) painter.drawLine(QPointF(plot.left(), plot.top() + d * one.height()), QPointF(plot.right(), plot.top() + d * one.height()));
  // Labels, thinned where they would touch.
  painter.setPen(quiet(colors, 0.8));
  double widest = 0;
  for (const int64_t length : grid->lengths) widest = std::max(widest, metrics.horizontalAdvance(format::tokens(length)));
  const int everyLength = std::max(1, static_cast<int>(std::ceil((widest + 6) / one.width())));
  for (int n = 0; n < N; n += everyLength)
    painter.drawText(QRectF(plot.left() + (n + 0.5) * one.width() - 40, plot.bottom() + 2, 80, 15), Qt::AlignHCenter | Qt::AlignTop, format::tokens(grid->lengths[static_cast<size_t>(n)]));
  const int everyDepth = std::max(1, static_cast<int>(std::ceil(metrics.height() / one.height())));
  for (int d = 0; d < D; d += everyDepth)
    painter.drawText(QRectF(area.left(), plot.top() + (d + 0.5) * one.height() - 8, kLeft - 6, 16), Qt::AlignRight | Qt::AlignVCenter, format::percent(grid->depths[static_cast<size_t>(d)]));
  painter.setPen(quiet(colors));
  if (area.height() >= kCaptionFrom) {
    const QString whole = tr("context length, tokens (depth of the answer to the left)");
    painter.drawText(QRectF(plot.left(), plot.bottom() + 17, plot.width(), 16), Qt::AlignHCenter | Qt::AlignTop,
                     metrics.horizontalAdvance(whole) <= plot.width() ? whole : tr("length, tokens"));
  }
  if (m_trainedLength > 0) {
    // Between the last length it was trained for and the first beyond; not where all or none are.
    const auto place = std::upper_bound(grid->lengths.begin(), grid->lengths.end(), m_trainedLength) - grid->lengths.begin();
    if (place > 0 && place < N) {
      const double x = plot.left() + static_cast<double>(place) * one.width();
      painter.setPen(QPen(colors.color(QPalette::Base), 4));
      painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()));
      painter.setPen(QPen(colors.color(QPalette::Text), 2, Qt::DashLine));
      painter.drawLine(QPointF(x, plot.top() - 3), QPointF(x, plot.bottom() + 3));
    }
  }
  drawLegendAt(painter, QRectF(plot.right() + 14, plot.top() + 2, 12, std::min(plot.height() - 4, 160.0)));
  painter.setRenderHint(QPainter::Antialiasing, false);
  painter.setBrush(Qt::NoBrush);
  if (selection()) {
    for (const auto& [cell, width] : {std::pair(selection()->hoveredCell(), 1), std::pair(selection()->cell(), 2)})
      if (cell.isValid() && cell.length < N && cell.depth < D) {
        const QRectF frame = cellRect(cell, area);
        painter.setPen(QPen(colors.color(QPalette::Base), width + 2));
        painter.drawRect(frame.adjusted(1, 1, -2, -2));
        painter.setPen(QPen(colors.color(QPalette::Text), width));
        painter.drawRect(frame.adjusted(1, 1, -2, -2));
      }
  }
}

QString CellView::copyText() const {
  if (selection() && selection()->cell().isValid() && axes()) {
    const CellRef cell = selection()->cell();
    if (cell.length < static_cast<int>(axes()->lengths.size()) && cell.depth < static_cast<int>(axes()->depths.size())) return tipOf(cell);
  }
  return View::copyText();
}

void CellView::mouseMoveEvent(QMouseEvent* event) {
  if (selection()) selection()->hoverCell(cellAt(event->position()));
}

void CellView::leaveEvent(QEvent* event) {
  if (selection()) selection()->hoverCell({});
  View::leaveEvent(event);
}

void CellView::mousePressEvent(QMouseEvent* event) {
  if (event->button() == Qt::LeftButton && selection()) selection()->selectCell(cellAt(event->position()));
}

void CellView::keyPressEvent(QKeyEvent* event) {
  const RecallGrid* grid = axes();
  if (selection() && grid && !grid->lengths.empty() && !grid->depths.empty()) {
    CellRef cell = selection()->cell();
    const auto move = [&](int byLength, int byDepth) {
      if (!cell.isValid()) cell = {0, 0};
      else cell = {std::clamp(cell.length + byLength, 0, static_cast<int>(grid->lengths.size()) - 1), std::clamp(cell.depth + byDepth, 0, static_cast<int>(grid->depths.size()) - 1)};
      selection()->selectCell(cell);
    };
    switch (event->key()) {
      case Qt::Key_Left: return move(-1, 0);
      case Qt::Key_Right: return move(1, 0);
      case Qt::Key_Up: return move(0, -1);
      case Qt::Key_Down: return move(0, 1);
      case Qt::Key_Escape: return selection()->selectCell({});
      default: break;
    }
  }
  View::keyPressEvent(event);
}

bool CellView::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip) {
    auto* help = static_cast<QHelpEvent*>(event);
    const CellRef cell = cellAt(help->pos());
    if (cell.isValid()) QToolTip::showText(help->globalPos(), tipOf(cell), this);
    else QToolTip::hideText();
    return true;
  }
  return View::event(event);
}

}  // namespace flashmorph
