// SPDX-License-Identifier: GPL-3.0-or-later
// Own painting: a chart library needs 80 to 500 ms for 48 lines of 2,000 points.
#include "widgets/views/gate_lines.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <QMouseEvent>
#include <QPainter>

#include "widgets/format/format.h"
#include "widgets/state/selection.h"
#include "widgets/views/color_scale.h"
#include "widgets/views/gate_rows.h"

namespace flashmorph {

namespace {
constexpr double kTop = 8, kBottom = 22;
}  // namespace

GateLines::GateLines(QWidget* parent) : LayerView(QStringLiteral("gate lines"), parent) {
  setAccessibleName(tr("Gates over steps"));
  setAccessibleDescription(tr("One line per layer; drag to zoom the steps, double-click for all"));
  setEmptyText(tr("No steps yet"));
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Expanding);
}

void GateLines::setData(GateLinesData data) {
  m_data = std::move(data);
  m_thinColumns = -1;
  m_background = {};
  valuesChanged();
}

void GateLines::setRange(StepRange range) {
  if (range == m_data.range) return;
  m_data.range = range;
  m_thinColumns = -1;
  m_background = {};
  update();
}

void GateLines::selectionChanged() { update(); }

void GateLines::changeEvent(QEvent* event) {
  m_background = {};  // colors or font may be others now
  LayerView::changeEvent(event);
}

QRectF GateLines::plotRect(const QRectF& area) {
  return {area.left() + GateRows::kStripLeft, area.top() + kTop,
          std::max(1.0, area.width() - GateRows::kStripLeft - GateRows::kStripRight),
          std::max(1.0, area.height() - kTop - kBottom)};
}

const ThinnedSeries& GateLines::thin(int columns) const {
  if (m_thinColumns != columns) {
    m_thin = thinToColumns(*m_data.series, m_data.range, columns);
    m_thinColumns = columns;
  }
  return m_thin;
}

std::vector<int> GateLines::boldLayers() const {
  std::vector<int> bold = m_data.cut;
  if (selection()) {
    bold.insert(bold.end(), selection()->layers().begin(), selection()->layers().end());
    if (selection()->hoveredLayer() >= 0) bold.push_back(selection()->hoveredLayer());
  }
  std::sort(bold.begin(), bold.end());
  bold.erase(std::unique(bold.begin(), bold.end()), bold.end());
  std::erase_if(bold, [this](int layer) { return layer < 0 || layer >= layerCount(); });
  return bold;
}

QPointF GateLines::pointOf(double step, double value) const {
  const QRectF plot = plotRect(QRectF(rect()));
  const StepRange shown = m_data.series->clipped(m_data.range);
  const double x = (step - shown.first) / std::max(shown.last - shown.first, 1e-9);
  const double y = (value - m_data.series->low) / std::max(m_data.series->high - m_data.series->low, 1e-12);
  return {plot.left() + x * plot.width(), plot.bottom() - y * plot.height()};
}

void GateLines::drawLine(QPainter& painter, const QRectF& plot, const ThinnedSeries& thin, int layer, const QColor& color,
                         double width) const {
  const auto L = static_cast<size_t>(thin.layers);
  const double low = m_data.series->low, scale = plot.height() / std::max(m_data.series->high - low, 1e-12);
  const int columns = m_thinColumns;
  QList<QPointF> points;
  points.reserve(static_cast<qsizetype>(thin.column.size() * 2));
  painter.setPen(QPen(color, width, Qt::SolidLine, Qt::FlatCap, Qt::BevelJoin));
  const auto flush = [&] {
    if (points.size() > 1) painter.drawPolyline(points.constData(), static_cast<int>(points.size()));
    else if (points.size() == 1) painter.drawEllipse(points.front(), width, width);
    points.clear();
  };
  double previous = 0;
  for (size_t c = 0; c < thin.column.size(); ++c) {
    const auto a = static_cast<double>(thin.low[c * L + static_cast<size_t>(layer)]);
    const auto b = static_cast<double>(thin.high[c * L + static_cast<size_t>(layer)]);
    if (std::isnan(a)) {
      flush();
      continue;
    }
    const double x = plot.left() + (thin.column[c] + 0.5) * plot.width() / columns;
    const double ya = plot.bottom() - (a - low) * scale, yb = plot.bottom() - (b - low) * scale;
    if (std::abs(ya - yb) < 0.25) {
      points.append({x, ya});
      previous = ya;
    } else if (std::abs(previous - ya) < std::abs(previous - yb)) {  // the nearer end first: fewer zigzags
      points.append({x, ya});
      points.append({x, yb});
      previous = yb;
    } else {
      points.append({x, yb});
      points.append({x, ya});
      previous = ya;
    }
  }
  flush();
}

void GateLines::drawAxes(QPainter& painter, const QRectF& plot) const {
  const QPalette colors = palette();
  const StepSeries& series = *m_data.series;
  QFont font = painter.font();
  font.setPixelSize(11);
  painter.setFont(font);
  const QColor grid = quiet(colors, 0.14), label = quiet(colors);
  for (const double value : roundTicks(series.low, series.high, plot.height() > 120 ? 4 : 2)) {
    const double y = plot.bottom() - (value - series.low) / std::max(series.high - series.low, 1e-12) * plot.height();
    painter.setPen(grid);
    painter.drawLine(QPointF(plot.left(), y), QPointF(plot.right(), y));
    painter.setPen(label);
    painter.drawText(QRectF(plot.left() - 60, y - 8, 54, 16), Qt::AlignRight | Qt::AlignVCenter, format::compact(value));
  }
  const StepRange shown = series.clipped(m_data.range);
  for (const double step : roundTicks(shown.first, shown.last, std::max(2, static_cast<int>(plot.width() / 110)))) {
    const double x = plot.left() + (step - shown.first) / std::max(shown.last - shown.first, 1e-9) * plot.width();
    painter.setPen(grid);
    painter.drawLine(QPointF(x, plot.top()), QPointF(x, plot.bottom()));
    painter.setPen(label);
    painter.drawText(QRectF(x - 40, plot.bottom() + 3, 80, 16), Qt::AlignHCenter | Qt::AlignTop, format::count(std::llround(step)));
  }
  painter.setPen(label);
  painter.drawText(QRectF(plot.left() - GateRows::kStripLeft + 8, plot.top(), 110, 16), Qt::AlignLeft | Qt::AlignTop,
                   tr("%1 by step").arg(series.quantity));
  // Legend of the depth scale, in the free place beside the axis.
  const QRectF bar(plot.left() - GateRows::kStripLeft + 12, plot.top() + 24, 10, std::max(20.0, std::min(90.0, plot.height() - 34)));
  for (int i = 0; i < static_cast<int>(bar.height()); ++i)
    painter.fillRect(QRectF(bar.left(), bar.top() + i, bar.width(), 1), colorAt(ColorScale::depth, i / bar.height()));
  painter.drawText(QPointF(bar.right() + 6, bar.top() + 10), tr("layer 0"));
  painter.drawText(QPointF(bar.right() + 6, bar.bottom()), tr("layer %1").arg(series.layers - 1));
}

void GateLines::drawEndLabels(QPainter& painter, const QRectF& plot, const std::vector<int>& bold) const {
  struct Label {
    double y;
    int layer;
    double value;
  };
  const StepSeries& series = *m_data.series;
  const StepRange shown = series.clipped(m_data.range);
  const auto after = std::upper_bound(series.step.begin(), series.step.end(), static_cast<int64_t>(shown.last));
  if (after == series.step.begin()) return;
  const auto row = static_cast<size_t>(after - series.step.begin()) - 1;
  std::vector<Label> labels;
  for (const int layer : bold) {
    const double value = static_cast<double>(series.at(row, layer));
    if (std::isfinite(value))
      labels.push_back({plot.bottom() - (value - series.low) / std::max(series.high - series.low, 1e-12) * plot.height(), layer, value});
  }
  std::sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.y < b.y; });
  constexpr double kLine = 13;
  for (size_t i = 1; i < labels.size(); ++i) labels[i].y = std::max(labels[i].y, labels[i - 1].y + kLine);
  double limit = plot.bottom() + 4;
  for (size_t i = labels.size(); i-- > 0; limit -= kLine) labels[i].y = std::min(labels[i].y, limit);
  QFont font = painter.font();
  font.setPixelSize(11);
  font.setBold(true);
  painter.setFont(font);
  for (const Label& label : labels) {
    painter.setPen(readable(layerColor(label.layer, series.layers), palette()));
    painter.drawText(QRectF(plot.right() + 5, label.y - 8, GateRows::kStripRight - 6, 16), Qt::AlignLeft | Qt::AlignVCenter,
                     QStringLiteral("%1: %2").arg(label.layer).arg(label.value < 10 ? format::number(label.value, 2) : format::compact(label.value)));
  }
}

void GateLines::draw(QPainter& painter, const QRectF& area) const {
  if (!m_data.series || m_data.series->rows() == 0) return drawEmpty(painter, area);
  const QRectF plot = plotRect(area);
  const bool onScreen = painter.device() == this;
  const double ratio = devicePixelRatioF();
  const ThinnedSeries& points = thin(std::max(1, static_cast<int>(plot.width())));
  const auto drawThin = [&](QPainter& to) {
    drawAxes(to, plot);
    to.save();
    to.setClipRect(plot.adjusted(-1, -2, 1, 2));
    to.setRenderHint(QPainter::Antialiasing, true);
    for (int layer = 0; layer < layerCount(); ++layer) {
      QColor color = layerColor(layer, layerCount());
      color.setAlphaF(0.55F);
      drawLine(to, plot, points, layer, color, 1);
    }
    to.restore();
  };
  if (onScreen && !isStale()) {
    const QSize pixels = (area.size() * ratio).toSize();
    if (m_background.size() != pixels) {
      m_background = QPixmap(pixels);
      m_background.setDevicePixelRatio(ratio);
      m_background.fill(palette().color(QPalette::Base));
      QPainter cached(&m_background);
      cached.setFont(painter.font());
      drawThin(cached);
    }
    painter.drawPixmap(area.topLeft(), m_background);
  } else {
    drawThin(painter);
  }
  painter.save();
  painter.setClipRect(plot.adjusted(-1, -2, 1, 2));
  painter.setRenderHint(QPainter::Antialiasing, true);
  const auto bold = boldLayers();
  for (const int layer : bold) drawLine(painter, plot, points, layer, layerColor(layer, layerCount()), 2.5);
  painter.restore();
  drawEndLabels(painter, plot, bold);
  if (m_brushFrom >= 0 && std::abs(m_brushTo - m_brushFrom) > 3) {
    QColor wash = palette().color(QPalette::Highlight);
    wash.setAlphaF(0.25F);
    painter.fillRect(QRectF(QPointF(std::min(m_brushFrom, m_brushTo), plot.top()), QPointF(std::max(m_brushFrom, m_brushTo), plot.bottom())), wash);
  }
}

int GateLines::layerAt(QPointF position) const {
  if (!m_data.series || m_data.series->rows() == 0) return -1;
  const QRectF plot = plotRect(QRectF(rect()));
  if (!plot.adjusted(0, -4, 0, 4).contains(position)) return -1;
  const ThinnedSeries& points = thin(std::max(1, static_cast<int>(plot.width())));
  if (points.column.empty()) return -1;
  const int column = static_cast<int>(position.x() - plot.left());
  auto at = std::lower_bound(points.column.begin(), points.column.end(), column);
  if (at == points.column.end()) --at;
  if (at != points.column.begin() && column - *(at - 1) < *at - column) --at;
  const auto c = static_cast<size_t>(at - points.column.begin());
  const double low = m_data.series->low, scale = plot.height() / std::max(m_data.series->high - low, 1e-12);
  int best = -1;
  double nearest = 8;  // pixels
  for (int layer = 0; layer < points.layers; ++layer) {
    const size_t i = c * static_cast<size_t>(points.layers) + static_cast<size_t>(layer);
    if (std::isnan(points.low[i])) continue;
    const double top = plot.bottom() - (static_cast<double>(points.high[i]) - low) * scale;
    const double bottom = plot.bottom() - (static_cast<double>(points.low[i]) - low) * scale;
    const double distance = std::max({0.0, top - position.y(), position.y() - bottom});
    if (distance < nearest) {
      nearest = distance;
      best = layer;
    }
  }
  return best;
}

QString GateLines::tipOf(int layer) const {
  return tr("layer %1, last %2 %3\ndrag: zoom the steps, double-click: all").arg(layer).arg(m_data.series->quantity,
         format::number(static_cast<double>(m_data.series->at(m_data.series->rows() - 1, layer)), 4));
}

void GateLines::mousePressEvent(QMouseEvent* event) {
  if (event->button() == Qt::LeftButton && plotRect(QRectF(rect())).contains(event->position()))
    m_brushFrom = m_brushTo = event->position().x();
  LayerView::mousePressEvent(event);
}

void GateLines::mouseMoveEvent(QMouseEvent* event) {
  if (m_brushFrom >= 0) {
    const QRectF plot = plotRect(QRectF(rect()));
    m_brushTo = std::clamp(event->position().x(), plot.left(), plot.right());
    update();
    return;
  }
  LayerView::mouseMoveEvent(event);
}

void GateLines::mouseReleaseEvent(QMouseEvent* event) {
  if (m_brushFrom >= 0 && m_data.series && m_data.series->rows() > 1 && std::abs(m_brushTo - m_brushFrom) > 6) {
    const QRectF plot = plotRect(QRectF(rect()));
    const StepRange shown = m_data.series->clipped(m_data.range);
    const auto stepAt = [&](double x) { return shown.first + (x - plot.left()) / plot.width() * (shown.last - shown.first); };
    const StepRange brushed{std::floor(stepAt(std::min(m_brushFrom, m_brushTo))), std::ceil(stepAt(std::max(m_brushFrom, m_brushTo)))};
    if (brushed.last - brushed.first >= 2) emit rangeBrushed(brushed);
  }
  m_brushFrom = m_brushTo = -1;
  update();
  LayerView::mouseReleaseEvent(event);
}

void GateLines::mouseDoubleClickEvent(QMouseEvent*) {
  m_brushFrom = m_brushTo = -1;
  emit rangeBrushed({});
}

Table GateLines::table() const {
  Table out{{"step", "layer", "value"}, {}};
  if (!m_data.series) return out;
  out.columns[2] = m_data.series->quantity.toStdString();
  for (size_t row = 0; row < m_data.series->rows(); ++row)
    for (int layer = 0; layer < m_data.series->layers; ++layer)
      out.rows.push_back({m_data.series->step[row], static_cast<int64_t>(layer), static_cast<double>(m_data.series->at(row, layer))});
  return out;
}

}  // namespace flashmorph
