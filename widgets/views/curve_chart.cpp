// SPDX-License-Identifier: GPL-3.0-or-later
// Qt Charts in a scene of its own, thinned to a few hundred points first.
#include "widgets/views/curve_chart.h"

#include <algorithm>
#include <cmath>

#include <QChart>
#include <QGraphicsLayout>
#include <QGraphicsScene>
#include <QLegend>
#include <QLineSeries>
#include <QMouseEvent>
#include <QPainter>
#include <QScatterSeries>
#include <QToolTip>
#include <QValueAxis>

#include "widgets/format/format.h"
#include "widgets/views/color_scale.h"

namespace flashmorph {

namespace {

/// At most 2 * columns points: the lowest and the highest of each column, in the order they came.
QList<QPointF> thinned(const Curve& curve, double from, double to, int columns) {
  QList<QPointF> out;
  const size_t n = std::min(curve.x.size(), curve.y.size());
  int column = -1;
  QPointF low, high;
  const auto flush = [&] {
    if (column < 0) return;
    if (low.x() <= high.x()) {
      out.append(low);
      if (low != high) out.append(high);
    } else {
      out.append(high);
      out.append(low);
    }
  };
  for (size_t i = 0; i < n; ++i) {
    const double x = curve.x[i], y = curve.y[i];
    if (!std::isfinite(y) || x < from || x > to) continue;
    const int at = to > from ? static_cast<int>((x - from) / (to - from) * columns) : 0;
    if (at != column) {
      flush();
      column = at;
      low = high = {x, y};
    } else {
      if (y < low.y()) low = {x, y};
      if (y > high.y()) high = {x, y};
    }
  }
  flush();
  return out;
}

}  // namespace

CurveChart::CurveChart(QWidget* parent) : View(QStringLiteral("curve chart"), parent) {
  setEmptyText(tr("No values yet"));
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Expanding);
}

CurveChart::~CurveChart() = default;

void CurveChart::setData(CurveChartData data) {
  m_data = std::move(data);
  m_built = false;
  setAccessibleName(m_data.title);
  valuesChanged();
}

void CurveChart::setRange(StepRange range) {
  if (range == m_data.range) return;
  m_data.range = range;
  m_built = false;
  update();
}

void CurveChart::changeEvent(QEvent* event) {
  m_built = false;
  View::changeEvent(event);
}

void CurveChart::build() const {
  if (m_built) return;
  m_built = true;
  // A new chart each time: one that has been drawn keeps its old axes until events are handled, and a
  // picture for a file never sees them handled.
  if (!m_scene) m_scene = std::make_unique<QGraphicsScene>();
  m_scene->clear();
  m_chart = new QChart;
  m_scene->addItem(m_chart);
  m_chart->setMargins(QMargins(2, 2, 6, 2));
  m_chart->setBackgroundRoundness(0);
  m_chart->setBackgroundPen(Qt::NoPen);
  m_chart->setAnimationOptions(QChart::NoAnimation);
  const QPalette colors = palette();
  double left = m_data.range.first, right = m_data.range.last;
  if (m_data.range.isAll()) {
    left = INFINITY, right = -INFINITY;
    for (const Curve& curve : m_data.curves)
      for (const double x : curve.x) {
        left = std::min(left, x);
        right = std::max(right, x);
      }
  }
  if (!(right > left)) right = left + 1;
  double low = INFINITY, high = -INFINITY;
  for (const Curve& curve : m_data.curves) {
    const QList<QPointF> points = thinned(curve, left, right, 300);
    for (const QPointF& p : points) {
      low = std::min(low, p.y());
      high = std::max(high, p.y());
    }
    const QColor color = curve.color.isValid() ? readable(curve.color, colors, 3) : colors.color(QPalette::Text);
    QXYSeries* series;
    if (m_data.points) {
      auto* scatter = new QScatterSeries;
      scatter->setMarkerSize(7);
      scatter->setBorderColor(Qt::transparent);
      scatter->setColor(color);
      series = scatter;
    } else {
      auto* line = new QLineSeries;
      line->setPen(QPen(color, 1.6, curve.dashed ? Qt::DashLine : Qt::SolidLine));
      series = line;
    }
    series->setName(curve.name);
    series->replace(points);
    m_chart->addSeries(series);
  }
  if (m_data.fromZero) low = std::min(0.0, low);
  if (!(high > low)) {
    if (!std::isfinite(low)) low = 0;
    high = low + std::max(1e-6, std::abs(low) * 0.1);
  }
  const double margin = 0.04 * (high - low);
  QFont small = font();
  small.setPixelSize(10);
  const auto dress = [&](QValueAxis* axis, double from, double to, int wanted) {
    axis->setRange(from, to);
    axis->setTickType(QValueAxis::TicksDynamic);
    const auto ticks = roundTicks(from, to, wanted);
    if (ticks.size() > 1) {
      axis->setTickAnchor(ticks.front());
      axis->setTickInterval(ticks[1] - ticks[0]);
    }
    const double size = std::max(std::abs(from), std::abs(to));
    axis->setLabelFormat(size >= 1e5 || (size > 0 && size < 1e-3) ? QStringLiteral("%.1e") : ticks.size() > 1 && ticks[1] - ticks[0] >= 1 ? QStringLiteral("%.0f") : ticks.size() > 1 && ticks[1] - ticks[0] < 0.01 ? QStringLiteral("%.3f") : QStringLiteral("%.2f"));
    axis->setLabelsFont(small);
    axis->setLabelsBrush(quiet(colors, 0.8));
    axis->setGridLinePen(QPen(quiet(colors, 0.14), 1));
    axis->setLinePen(QPen(quiet(colors, 0.35), 1));
  };
  auto* x = new QValueAxis;
  dress(x, m_data.points ? left - 0.5 : left, m_data.points ? right + 0.5 : right, 4);
  if (m_data.points || right - left > 4) x->setLabelFormat(QStringLiteral("%.0f"));
  auto* y = new QValueAxis;
  dress(y, m_data.fromZero && low == 0 ? 0 : low - margin, high + margin, 3);
  m_chart->addAxis(x, Qt::AlignBottom);
  m_chart->addAxis(y, Qt::AlignLeft);
  for (QAbstractSeries* series : m_chart->series()) {
    series->attachAxis(x);
    series->attachAxis(y);
  }
  QFont title = font();
  title.setPixelSize(11);
  title.setBold(true);
  // Axis titles would take the room of the curves: quantity, unit and x stand in the title.
  const bool hasUnit = !m_data.unit.isEmpty() && m_data.unit != u"1";
  m_chart->setTitle(m_data.title + (hasUnit ? QStringLiteral(", ") + m_data.unit : QString()) + (m_data.points ? QString() : tr(" by %1").arg(m_data.xName)));
  m_chart->layout()->setContentsMargins(0, 0, 0, 0);
  m_chart->setTitleFont(title);
  m_chart->setTitleBrush(colors.color(QPalette::Text));
  m_chart->setBackgroundBrush(colors.color(QPalette::Base));
  m_chart->legend()->setVisible(m_data.curves.size() > 1);
  m_chart->legend()->setFont(small);
  m_chart->legend()->setLabelColor(colors.color(QPalette::Text));
  m_chart->legend()->setAlignment(Qt::AlignBottom);
}

void CurveChart::draw(QPainter& painter, const QRectF& area) const {
  const bool empty = std::none_of(m_data.curves.begin(), m_data.curves.end(), [](const Curve& c) {
    return std::any_of(c.y.begin(), c.y.end(), [](double y) { return std::isfinite(y); });
  });
  if (empty) {
    painter.setPen(palette().color(QPalette::Text));
    painter.drawText(area.adjusted(8, 6, -8, 0), Qt::AlignHCenter | Qt::AlignTop, m_data.title);
    return drawEmpty(painter, area);
  }
  build();
  m_chart->resize(area.size());
  m_scene->setSceneRect(QRectF(QPointF(0, 0), area.size()));
  painter.setRenderHint(QPainter::Antialiasing, true);
  m_scene->render(&painter, area, m_scene->sceneRect(), Qt::IgnoreAspectRatio);
}

void CurveChart::mouseMoveEvent(QMouseEvent* event) {
  if (!m_chart || !m_built || m_data.curves.empty() || !m_chart->plotArea().contains(event->position())) return QToolTip::hideText();
  const auto series = m_chart->series();
  if (series.isEmpty()) return;
  const double x = m_chart->mapToValue(event->position(), series.front()).x();
  QString text;
  for (const Curve& curve : m_data.curves) {
    const size_t n = std::min(curve.x.size(), curve.y.size());
    if (n == 0) continue;
    size_t best = 0;
    for (size_t i = 1; i < n; ++i)
      if (std::abs(curve.x[i] - x) < std::abs(curve.x[best] - x)) best = i;
    if (text.isEmpty()) text = m_data.xName + u' ' + format::compact(curve.x[best]);
    text += u'\n' + (curve.name.isEmpty() ? m_data.yName : curve.name) + QStringLiteral(": ") + format::compact(curve.y[best]);
  }
  QToolTip::showText(event->globalPosition().toPoint(), text, this);
}

Table CurveChart::table() const {
  std::string y = (m_data.yName.isEmpty() ? QStringLiteral("value") : m_data.yName).toStdString();
  if (m_data.unit != u"1" && !m_data.unit.isEmpty()) y += '_' + m_data.unit.toStdString();
  std::replace(y.begin(), y.end(), ' ', '_');
  Table out{{"curve", m_data.xName.toStdString(), y}, {}};
  for (const Curve& curve : m_data.curves)
    for (size_t i = 0; i < std::min(curve.x.size(), curve.y.size()); ++i) {
      const bool whole = curve.x[i] == std::floor(curve.x[i]);
      out.rows.push_back({curve.name.toStdString(), whole ? TableValue(static_cast<int64_t>(curve.x[i])) : TableValue(curve.x[i]), curve.y[i]});
    }
  return out;
}

}  // namespace flashmorph
