// SPDX-License-Identifier: GPL-3.0-or-later
// Axes, cells, pointing.
#include "widgets/views/cell_view.h"

#include <algorithm>
#include <cmath>

#include <QHelpEvent>
#include <QKeyEvent>
#include <QMenu>
#include <QMouseEvent>
#include <QPainter>
#include <QToolTip>
#include <QWheelEvent>

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

CellView::Part CellView::part() const {
  const RecallGrid* grid = axes();
  if (!grid) return {};
  const auto range = [](double from, double to, size_t count, int& first, int& shown) {
    const int n = static_cast<int>(count);
    first = std::clamp(static_cast<int>(std::floor(from * n + 1e-9)), 0, std::max(0, n - 1));
    shown = std::clamp(static_cast<int>(std::ceil(to * n - 1e-9)), std::min(first + 1, n), n) - first;
  };
  const CellZoom zoom = selection() ? selection()->zoom() : CellZoom();
  Part out;
  range(zoom.left, zoom.right, grid->lengths.size(), out.length, out.lengths);
  range(zoom.top, zoom.bottom, grid->depths.size(), out.depth, out.depths);
  out.isAll = out.lengths == static_cast<int>(grid->lengths.size()) && out.depths == static_cast<int>(grid->depths.size());
  return out;
}

// Below 1: closer. Whole cells, at least one, with `around` in the middle as far as the edges allow.
void CellView::zoom(double factor, CellRef around) {
  const RecallGrid* grid = axes();
  if (!selection() || !grid || grid->lengths.empty() || grid->depths.empty()) return;
  const Part now = part();
  if (!around.isValid()) around = {now.length + now.lengths / 2, now.depth + now.depths / 2};
  const auto narrowed = [factor](int first, int shown, int all, int middle, double& from, double& to) {
    const int wanted = std::clamp(factor < 1 ? static_cast<int>(std::ceil(shown * factor)) : shown * 2, 1, all);
    first = std::clamp(middle - wanted / 2, 0, all - wanted);
    from = static_cast<double>(first) / all;
    to = static_cast<double>(first + wanted) / all;
  };
  CellZoom zoom;
  narrowed(now.length, now.lengths, static_cast<int>(grid->lengths.size()), around.length, zoom.left, zoom.right);
  narrowed(now.depth, now.depths, static_cast<int>(grid->depths.size()), around.depth, zoom.top, zoom.bottom);
  selection()->setZoom(zoom);
}

void CellView::wheelEvent(QWheelEvent* event) {
  if (!(event->modifiers() & Qt::ControlModifier) || event->angleDelta().y() == 0) return View::wheelEvent(event);
  zoom(event->angleDelta().y() > 0 ? 0.5 : 2, cellAt(event->position()));
  event->accept();
}

void CellView::fillMenu(QMenu& menu) {
  const CellRef around = selection() ? selection()->cell() : CellRef();
  menu.addAction(tr("Zoom &in\t+"), this, [this, around] { zoom(0.5, around); });
  menu.addAction(tr("Zoom &out\t-"), this, [this, around] { zoom(2, around); })->setEnabled(!part().isAll);
  menu.addAction(tr("All &cells\t0"), this, [this] { if (selection()) selection()->setZoom({}); })->setEnabled(!part().isAll);
}

QRectF CellView::cellRect(CellRef cell, const QRectF& area) const {
  const RecallGrid* grid = axes();
  if (!grid || !cell.isValid() || grid->lengths.empty() || grid->depths.empty()) return {};
  const QRectF plot = plotRect(area);
  const Part shown = part();
  const double width = plot.width() / shown.lengths, height = plot.height() / shown.depths;
  return {plot.left() + width * (cell.length - shown.length), plot.top() + height * (cell.depth - shown.depth), width, height};
}

CellRef CellView::cellAt(QPointF position) const {
  const RecallGrid* grid = axes();
  const QRectF plot = plotRect(QRectF(rect()));
  if (!grid || grid->lengths.empty() || grid->depths.empty() || !plot.contains(position)) return {};
  const Part shown = part();
  return {shown.length + std::min(static_cast<int>((position.x() - plot.left()) / plot.width() * shown.lengths), shown.lengths - 1),
          shown.depth + std::min(static_cast<int>((position.y() - plot.top()) / plot.height() * shown.depths), shown.depths - 1)};
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
  const Part shown = part();
  const int N = shown.length + shown.lengths, D = shown.depth + shown.depths;  // ends
  const QRectF one = cellRect({shown.length, shown.depth}, area);
  painter.setFont(small);
  const QFontMetricsF metrics(small);
  for (int n = shown.length; n < N; ++n)
    for (int d = shown.depth; d < D; ++d) {
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
  for (int n = 0; n <= shown.lengths; ++n) painter.drawLine(QPointF(plot.left() + n * one.width(), plot.top()), QPointF(plot.left() + n * one.width(), plot.bottom()));
  for (int d = 0; d <= shown.depths; ++d) painter.drawLine(QPointF(plot.left(), plot.top() + d * one.height()), QPointF(plot.right(), plot.top() + d * one.height()));
  // Labels, thinned where they would touch.
  painter.setPen(quiet(colors, 0.8));
  double widest = 0;
  for (const int64_t length : grid->lengths) widest = std::max(widest, metrics.horizontalAdvance(format::tokens(length)));
  const int everyLength = std::max(1, static_cast<int>(std::ceil((widest + 6) / one.width())));
  for (int n = shown.length; n < N; n += everyLength)
    painter.drawText(QRectF(plot.left() + (n - shown.length + 0.5) * one.width() - 40, plot.bottom() + 2, 80, 15), Qt::AlignHCenter | Qt::AlignTop, format::tokens(grid->lengths[static_cast<size_t>(n)]));
  const int everyDepth = std::max(1, static_cast<int>(std::ceil(metrics.height() / one.height())));
  for (int d = shown.depth; d < D; d += everyDepth)
    painter.drawText(QRectF(area.left(), plot.top() + (d - shown.depth + 0.5) * one.height() - 8, kLeft - 6, 16), Qt::AlignRight | Qt::AlignVCenter, format::percent(grid->depths[static_cast<size_t>(d)]));
  painter.setPen(quiet(colors));
  if (area.height() >= kCaptionFrom) {
    const QString whole = shown.isAll ? tr("context length, tokens (depth of the answer to the left)")
                                      : tr("context length, tokens; %1 of %2 cells, 0 shows all").arg(shown.lengths * shown.depths).arg(grid->cells.size());
    painter.drawText(QRectF(plot.left(), plot.bottom() + 17, plot.width(), 16), Qt::AlignHCenter | Qt::AlignTop,
                     metrics.horizontalAdvance(whole) <= plot.width() ? whole : tr("length, tokens"));
  }
  if (m_trainedLength > 0) {
    // Between the last length it was trained for and the first beyond; not where all or none are.
    const auto place = std::upper_bound(grid->lengths.begin(), grid->lengths.end(), m_trainedLength) - grid->lengths.begin();
    if (place > shown.length && place < N) {
      const double x = plot.left() + static_cast<double>(place - shown.length) * one.width();
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
      if (cell.isValid() && shown.holds(cell)) {
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
      // The cell walked to comes into the zoomed part.
      if (const Part now = part(); !now.holds(cell)) {
        CellZoom zoom = selection()->zoom();
        const double dx = (cell.length < now.length ? cell.length - now.length : cell.length >= now.length + now.lengths ? cell.length - now.length - now.lengths + 1 : 0) / static_cast<double>(grid->lengths.size());
        const double dy = (cell.depth < now.depth ? cell.depth - now.depth : cell.depth >= now.depth + now.depths ? cell.depth - now.depth - now.depths + 1 : 0) / static_cast<double>(grid->depths.size());
        selection()->setZoom({zoom.left + dx, zoom.right + dx, zoom.top + dy, zoom.bottom + dy});
      }
      selection()->selectCell(cell);
    };
    switch (event->key()) {
      case Qt::Key_Left: return move(-1, 0);
      case Qt::Key_Right: return move(1, 0);
      case Qt::Key_Up: return move(0, -1);
      case Qt::Key_Down: return move(0, 1);
      case Qt::Key_Plus:
      case Qt::Key_Equal: return zoom(0.5, cell);
      case Qt::Key_Minus: return zoom(2, cell);
      case Qt::Key_0: return event->modifiers() == Qt::NoModifier || event->modifiers() == Qt::KeypadModifier ? selection()->setZoom({}) : View::keyPressEvent(event);
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
