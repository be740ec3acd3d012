// SPDX-License-Identifier: GPL-3.0-or-later
// Rows of bars and strips; the strip is an image of one line per layer, stretched to the rows.
#include "widgets/views/gate_rows.h"

#include <algorithm>
#include <cmath>

#include <QPainter>

#include "widgets/format/format.h"
#include "widgets/state/selection.h"

namespace flashmorph {

namespace {
constexpr double kHeader = 20, kFooter = 6, kLabel = 40, kBarRight = 62;

double part(double value, const StepSeries* series) {
  const double low = series ? series->low : 0, high = series ? series->high : 1;
  return high > low ? std::clamp((value - low) / (high - low), 0.0, 1.0) : 0.0;
}
}  // namespace

GateRows::GateRows(QWidget* parent) : LayerView(QStringLiteral("gate rows"), parent) {
  setAccessibleName(tr("Gates by layer"));
  setAccessibleDescription(tr("One row per layer: label, bar of the gate now, heat strip over the steps"));
  setEmptyText(tr("No gates yet"));
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::MinimumExpanding);
}

void GateRows::setData(GateRowsData data) {
  const bool sameSize = data.now.size() == m_data.now.size();
  m_data = std::move(data);
  const auto order = drawnOrder();
  m_rowOfLayer.assign(m_data.now.size(), 0);
  for (size_t row = 0; row < order.size(); ++row) m_rowOfLayer[static_cast<size_t>(order[row])] = static_cast<int>(row);
  m_strip = {};
  if (!sameSize) updateGeometry();
  valuesChanged();
}

void GateRows::setRange(StepRange range) {
  if (range == m_data.range) return;
  m_data.range = range;
  m_strip = {};
  update();
}

void GateRows::setScale(ColorScale scale) {
  m_scale = scale;
  m_strip = {};
  update();
}

std::vector<int> GateRows::drawnOrder() const {
  if (m_data.order.size() == m_data.now.size()) return m_data.order;
  return LayerView::drawnOrder();
}

QSize GateRows::minimumSizeHint() const {
  return {420, static_cast<int>(kHeader + kFooter) + kRowHeight * std::max(4, layerCount())};
}

QRectF GateRows::rowsArea(const QRectF& area) const {
  const int rows = std::max(1, layerCount());
  // Whole pixels per row keep labels, bars and strips on one raster; few layers do not grow into slabs.
  const double height = std::clamp(std::floor((area.height() - kHeader - kFooter) / rows), 1.0, 30.0);
  return {area.left(), area.top() + kHeader, area.width(), height * rows};
}

QRectF GateRows::rowRect(int layer, const QRectF& area) const {
  if (layer < 0 || layer >= layerCount()) return {};
  const QRectF rows = rowsArea(area);
  const double height = rows.height() / layerCount();
  return {rows.left(), rows.top() + m_rowOfLayer[static_cast<size_t>(layer)] * height, rows.width(), height};
}

QRectF GateRows::barRect(const QRectF& row) {
  return {row.left() + kLabel, row.top(), kStripLeft - kLabel - kBarRight, row.height()};
}

QRectF GateRows::stripRect(const QRectF& row) {
  return {row.left() + kStripLeft, row.top(), std::max(0.0, row.width() - kStripLeft - kStripRight), row.height()};
}

int GateRows::layerAt(QPointF position) const {
  const QRectF rows = rowsArea(QRectF(rect()));
  if (layerCount() == 0 || !rows.contains(position)) return -1;
  const auto row = static_cast<size_t>((position.y() - rows.top()) / (rows.height() / layerCount()));
  const auto order = drawnOrder();
  return row < order.size() ? order[row] : -1;
}

QImage GateRows::strip(int columns) const {
  if (m_strip.width() == columns) return m_strip;
  const StepSeries& series = *m_data.series;
  QImage image(columns, series.layers, QImage::Format_ARGB32);
  image.fill(Qt::transparent);
  const ThinnedSeries thin = thinToColumns(series, m_data.range, columns);
  const auto L = static_cast<size_t>(series.layers);
  const double scale = series.high > series.low ? 1 / (series.high - series.low) : 0;
  for (int layer = 0; layer < series.layers; ++layer) {
    auto* line = reinterpret_cast<QRgb*>(image.scanLine(m_rowOfLayer[static_cast<size_t>(layer)]));
    for (size_t c = 0; c < thin.column.size(); ++c) {
      // Few steps: a step fills the columns up to the next one.
      const int end = c + 1 < thin.column.size() ? thin.column[c + 1] : thin.column[c] + 1;
      const double v = static_cast<double>(thin.mean[c * L + static_cast<size_t>(layer)]);
      std::fill(line + thin.column[c], line + std::min(end, columns), rgbAt(m_scale, (v - series.low) * scale));
    }
  }
  m_strip = image;
  return image;
}

void GateRows::draw(QPainter& painter, const QRectF& area) const {
  const int L = layerCount();
  if (L == 0) return drawEmpty(painter, area);
  const QPalette colors = palette();
  const QRectF rows = rowsArea(area);
  const double height = rows.height() / L;
  QFont small = painter.font();
  small.setPixelSize(static_cast<int>(std::clamp(height - 1, 8.0, 12.0)));
  QFont header = painter.font();
  header.setPixelSize(11);
  painter.setFont(header);
  painter.setPen(quiet(colors));
  const QString quantity = m_data.series ? m_data.series->quantity : tr("gate");
  painter.drawText(QRectF(rows.left() + 4, area.top(), kLabel, kHeader), Qt::AlignVCenter | Qt::AlignLeft, tr("layer"));
  painter.drawText(QRectF(barRect(rows).left(), area.top(), kStripLeft - kLabel, kHeader), Qt::AlignVCenter | Qt::AlignLeft,
                   tr("%1 now").arg(quantity));
  const QRectF stripArea = stripRect(rows);
  const bool hasStrip = m_data.series && m_data.series->rows() > 0 && m_data.series->layers == L && stripArea.width() > 8;
  if (hasStrip) {
    const StepRange shown = m_data.series->clipped(m_data.range);
    painter.drawText(QRectF(stripArea.left(), area.top(), stripArea.width(), kHeader), Qt::AlignVCenter | Qt::AlignLeft,
                     tr("%1 over steps %2 to %3").arg(quantity, format::count(std::lround(shown.first)), format::count(std::lround(shown.last))));
    painter.setRenderHint(QPainter::SmoothPixmapTransform, false);
    painter.drawImage(stripArea, strip(static_cast<int>(stripArea.width())));
    const QRectF legend(stripArea.right() + 14, stripArea.top(), 10, std::min(stripArea.height(), 120.0));
    drawLegend(painter, legend, m_scale, format::compact(m_data.series->low), format::compact(m_data.series->high), colors);
  }
  painter.setFont(small);
  const int hovered = selection() ? selection()->hoveredLayer() : -1;
  for (int layer = 0; layer < L; ++layer) {
    const QRectF row = rowRect(layer, area);
    const bool selected = selection() && selection()->isSelected(layer), kept = m_data.plan.layers == L && m_data.plan.is_full(layer);
    if (selected || layer == hovered) {
      QColor wash = colors.color(QPalette::Highlight);
      wash.setAlphaF(selected ? 0.30F : 0.16F);
      painter.fillRect(QRectF(row.left(), row.top(), kStripLeft - 2, row.height()), wash);
    }
    QFont font = small;
    font.setBold(kept || selected);
    painter.setFont(font);
    painter.setPen(colors.color(QPalette::Text));
    QString label = QString::number(layer);
    if (static_cast<size_t>(layer) < m_data.locks.size() && m_data.locks[static_cast<size_t>(layer)] != Lock::free)
      label.prepend(m_data.locks[static_cast<size_t>(layer)] == Lock::full ? QStringLiteral("F ") : QStringLiteral("L "));
    painter.drawText(QRectF(row.left(), row.top(), kLabel - 6, row.height()), Qt::AlignVCenter | Qt::AlignRight, label);

    const QRectF bar = barRect(row).adjusted(0, 1, 0, -1);
    painter.fillRect(bar, quiet(colors, 0.10));
    const double value = m_data.now[static_cast<size_t>(layer)];
    if (std::isfinite(value))
      painter.fillRect(QRectF(bar.left(), bar.top(), bar.width() * part(value, m_data.series.get()), bar.height()), layerColor(layer, L));
    if (static_cast<size_t>(layer) < m_data.score.size() && std::isfinite(m_data.score[static_cast<size_t>(layer)])) {
      const double x = bar.left() + bar.width() * part(m_data.score[static_cast<size_t>(layer)], m_data.series.get());
      painter.fillRect(QRectF(std::round(x) - 1, bar.top() - 1, 2, bar.height() + 2), colors.color(QPalette::Text));
    }
    painter.drawText(QRectF(bar.right() + 6, row.top(), kBarRight - 12, row.height()), Qt::AlignVCenter | Qt::AlignLeft,
                     std::abs(value) < 10 ? format::number(value, 3) : format::compact(value));
    if (kept) {
      painter.setBrush(colors.color(QPalette::Text));
      painter.setPen(Qt::NoPen);
      const double r = std::min(3.0, height / 4);
      painter.setRenderHint(QPainter::Antialiasing, true);
      painter.drawEllipse(QPointF(row.left() + kStripLeft - 7, row.center().y()), r, r);
      painter.setRenderHint(QPainter::Antialiasing, false);
      painter.setBrush(Qt::NoBrush);
    }
    if (hasStrip && (selected || layer == hovered)) {
      painter.setPen(QPen(colors.color(QPalette::Text), selected ? 2 : 1));
      painter.drawRect(stripRect(row).adjusted(0, 0, -1, -1));
    }
  }
}

QString GateRows::tipOf(int layer) const {
  const auto l = static_cast<size_t>(layer);
  QString text = tr("layer %1, %2 %3").arg(layer).arg(m_data.series ? m_data.series->quantity : tr("gate"), format::number(m_data.now[l], 4));
  if (l < m_data.score.size()) text += tr("\nscore %1 (tick)").arg(format::number(m_data.score[l], 4));
  if (m_data.plan.layers == layerCount()) text += m_data.plan.is_full(layer) ? tr("\nkept full (dot)") : tr("\nlinear");
  if (l < m_data.locks.size() && m_data.locks[l] != Lock::free) text += m_data.locks[l] == Lock::full ? tr("\nlocked full") : tr("\nlocked linear");
  return text;
}

QString GateRows::copyText() const {
  const int layer = selection() && selection()->layers().size() == 1 ? *selection()->layers().begin() : -1;
  if (layer >= 0 && layer < layerCount()) return QString::number(m_data.now[static_cast<size_t>(layer)], 'g', 9);
  return View::copyText();
}

Table GateRows::table() const {
  Table out{{"layer", m_data.series ? m_data.series->quantity.toStdString() : "gate", "score", "rank", "kept", "lock"}, {}};
  std::vector<int> rank(m_data.now.size());
  if (!m_data.score.empty()) {
    const auto order = rank_order(m_data.score, {});
    for (size_t i = 0; i < order.size() && i < rank.size(); ++i) rank[static_cast<size_t>(order[i])] = static_cast<int>(i) + 1;
  }
  static constexpr const char* kLocks[] = {"free", "full", "linear"};
  for (size_t l = 0; l < m_data.now.size(); ++l) {
    const bool hasPlan = m_data.plan.layers == layerCount();
    out.rows.push_back({static_cast<int64_t>(l), m_data.now[l], l < m_data.score.size() ? TableValue(m_data.score[l]) : TableValue(),
                        m_data.score.empty() ? TableValue() : TableValue(static_cast<int64_t>(rank[l])),
                        hasPlan ? TableValue(static_cast<int64_t>(m_data.plan.is_full(static_cast<int>(l)))) : TableValue(),
                        std::string(kLocks[l < m_data.locks.size() ? static_cast<size_t>(m_data.locks[l]) : 0])});
  }
  return out;
}

}  // namespace flashmorph
