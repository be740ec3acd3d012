// SPDX-License-Identifier: GPL-3.0-or-later
// Own painting over QAbstractSlider, which brings range, keys and accessibility.
#include "widgets/views/budget_slider.h"

#include <algorithm>
#include <cmath>

#include <QMouseEvent>
#include <QPainter>

#include "core/run/budget_solver.h"
#include "widgets/views/color_scale.h"

namespace flashmorph {

namespace {
constexpr double kSide = 14, kGroove = 14;
}

BudgetSlider::BudgetSlider(QWidget* parent) : QAbstractSlider(parent) {
  setObjectName(QStringLiteral("budget slider"));
  setAccessibleName(tr("Budget K: layers that stay full"));
  setOrientation(Qt::Horizontal);
  setFocusPolicy(Qt::StrongFocus);
  setSizePolicy(QSizePolicy::Expanding, QSizePolicy::Fixed);
  setSingleStep(1);
  setPageStep(2);
}

void BudgetSlider::setLayers(int layers, int lowest, int highest) {
  m_layers = std::max(1, layers);
  setRange(std::clamp(lowest, 0, m_layers), std::clamp(highest, 0, m_layers));
  update();
}

std::vector<BudgetSlider::Tick> BudgetSlider::ticks() const {
  std::vector<Tick> out;
  for (const auto& [ratio, text] : {std::pair(6, "6:1"), std::pair(3, "3:1"), std::pair(1, "1:1")}) {
    const int K = budget_of_ratio(m_layers, ratio);
    if (K > m_layers) continue;
    if (!out.empty() && out.back().K == K) out.back().text += QStringLiteral(", ") + QLatin1String(text);
    else out.push_back({K, QLatin1String(text)});
  }
  return out;
}

double BudgetSlider::xOf(int K) const { return kSide + (width() - 2 * kSide) * K / m_layers; }

int BudgetSlider::budgetAt(double x) const {
  return static_cast<int>(std::lround((x - kSide) / std::max(1.0, width() - 2 * kSide) * m_layers));
}

void BudgetSlider::paintEvent(QPaintEvent*) {
  QPainter painter(this);
  painter.setRenderHint(QPainter::Antialiasing, true);
  const QPalette colors = palette();
  const QColor text = colors.color(isEnabled() ? QPalette::WindowText : QPalette::PlaceholderText);
  const double left = xOf(0), right = xOf(m_layers);
  const auto mixed = [&](double part) {
    const QColor a = colors.color(QPalette::Window), b = colors.color(QPalette::WindowText);
    return QColor::fromRgbF(static_cast<float>(a.redF() + part * (b.redF() - a.redF())), static_cast<float>(a.greenF() + part * (b.greenF() - a.greenF())),
                            static_cast<float>(a.blueF() + part * (b.blueF() - a.blueF())));
  };
  // Whole scale pale, reachable part darker, kept part in the accent color.
  painter.setPen(Qt::NoPen);
  painter.setBrush(mixed(0.14));
  painter.drawRoundedRect(QRectF(left, kGroove - 2, right - left, 4), 2, 2);
  painter.setBrush(mixed(0.40));
  painter.drawRoundedRect(QRectF(xOf(minimum()), kGroove - 2, xOf(maximum()) - xOf(minimum()), 4), 2, 2);
  painter.setBrush(colors.color(isEnabled() ? QPalette::Highlight : QPalette::Mid));
  painter.drawRoundedRect(QRectF(left, kGroove - 2, xOf(sliderPosition()) - left, 4), 2, 2);
  QFont small = font();
  small.setPixelSize(11);
  painter.setFont(small);
  const QFontMetricsF metrics(small);
  const double line = kGroove + 9;
  painter.setPen(text);
  const double endWidth = metrics.horizontalAdvance(QString::number(m_layers));
  painter.drawText(QPointF(left - metrics.horizontalAdvance(u'0') / 2, line + 16), QStringLiteral("0"));
  painter.drawText(QPointF(right - endWidth / 2, line + 16), QString::number(m_layers));
  double taken = left + 8;
  for (const Tick& tick : ticks()) {
    const double x = xOf(tick.K), width = metrics.horizontalAdvance(tick.text);
    painter.setPen(QPen(text, 1));
    painter.drawLine(QPointF(x, kGroove + 5), QPointF(x, kGroove + 10));
    double from = std::max(x - width / 2, taken);
    if (from + width > right - endWidth) continue;
    painter.drawText(QPointF(from, line + 16), tick.text);
    taken = from + width + 6;
  }
  for (const int end : {minimum(), maximum()})
    if (end > 0 && end < m_layers) {
      painter.setPen(QPen(text, 1.5));
      painter.drawLine(QPointF(xOf(end), kGroove - 7), QPointF(xOf(end), kGroove + 7));
    }
  painter.setPen(QPen(hasFocus() ? colors.color(QPalette::WindowText) : mixed(0.6), hasFocus() ? 2 : 1));
  painter.setBrush(colors.color(isEnabled() ? QPalette::Highlight : QPalette::Mid));
  painter.drawEllipse(QPointF(xOf(sliderPosition()), kGroove), 8, 8);
}

void BudgetSlider::mousePressEvent(QMouseEvent* event) {
  if (event->button() != Qt::LeftButton) return;
  setFocus(Qt::MouseFocusReason);
  setSliderDown(true);
  setSliderPosition(budgetAt(event->position().x()));
}

void BudgetSlider::mouseMoveEvent(QMouseEvent* event) {
  if (isSliderDown()) setSliderPosition(budgetAt(event->position().x()));
}

void BudgetSlider::mouseReleaseEvent(QMouseEvent* event) {
  if (event->button() == Qt::LeftButton) setSliderDown(false);
}

}  // namespace flashmorph
