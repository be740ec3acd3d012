// SPDX-License-Identifier: GPL-3.0-or-later
// Color tables and contrast.
#include "widgets/views/color_scale.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <span>

#include <QFontMetricsF>
#include <QLinearGradient>
#include <QPainter>
#include <QPalette>

namespace flashmorph {

namespace {

// Evenly spaced anchors; cividis (Nunez, Anderton, Renslow 2018) and viridis (van der Walt, Smith) are CC0.
constexpr QRgb kCividis[] = {0xff00224e, 0xff123570, 0xff3b496c, 0xff575d6d, 0xff707173,
                             0xff8a8678, 0xffa59c74, 0xffc3b369, 0xffe1cc55, 0xfffee838};
constexpr QRgb kViridis[] = {0xff440154, 0xff482878, 0xff3e4989, 0xff31688e, 0xff26828e,
                             0xff1f9e89, 0xff35b779, 0xff6ece58, 0xffb5de2b, 0xfffde725};
constexpr QRgb kRedYellowGreen[] = {0xffa50026, 0xffd73027, 0xfff46d43, 0xfffdae61, 0xfffee08b, 0xffffffbf,
                                    0xffd9ef8b, 0xffa6d96a, 0xff66bd63, 0xff1a9850, 0xff006837};
constexpr QRgb kBlueWhiteOrange[] = {0xff0b3c8c, 0xff2f74c0, 0xff8db9e3, 0xfff7f7f7, 0xfff5b26b, 0xffd9741a, 0xff8f3f00};
// Nearly one lightness, so that neither end vanishes on white or on dark gray.
constexpr QRgb kDepth[] = {0xff2e7bd6, 0xff6a6ae0, 0xff9a5bd0, 0xffc04fa8, 0xffd9546f, 0xffd8693a, 0xffb3801a};

std::span<const QRgb> anchorsOf(ColorScale scale) {
  switch (scale) {
    case ColorScale::viridis: return kViridis;
    case ColorScale::redYellowGreen: return kRedYellowGreen;
    case ColorScale::blueWhiteOrange: return kBlueWhiteOrange;
    case ColorScale::depth: return kDepth;
    case ColorScale::cividis: break;
  }
  return kCividis;
}

QRgb interpolate(std::span<const QRgb> anchors, double t) {
  const double place = t * static_cast<double>(anchors.size() - 1);
  const auto left = std::min(static_cast<size_t>(place), anchors.size() - 2);
  const double part = place - static_cast<double>(left);
  const auto mix = [&](int a, int b) { return static_cast<int>(std::lround(a + part * (b - a))); };
  const QRgb a = anchors[left], b = anchors[left + 1];
  return qRgb(mix(qRed(a), qRed(b)), mix(qGreen(a), qGreen(b)), mix(qBlue(a), qBlue(b)));
}

constexpr QRgb kNoValue = 0xff808080;

double luminance(const QColor& color) {
  const auto linear = [](double c) { return c <= 0.04045 ? c / 12.92 : std::pow((c + 0.055) / 1.055, 2.4); };
  return 0.2126 * linear(color.redF()) + 0.7152 * linear(color.greenF()) + 0.0722 * linear(color.blueF());
}

QColor mixed(const QColor& a, const QColor& b, double toB) {
  const auto mix = [toB](float x, float y) { return static_cast<float>(x + toB * (y - x)); };
  return QColor::fromRgbF(mix(a.redF(), b.redF()), mix(a.greenF(), b.greenF()), mix(a.blueF(), b.blueF()));
}

}  // namespace

QRgb rgbAt(ColorScale scale, double t) {
  static const auto tables = [] {
    std::array<std::array<QRgb, 257>, 5> all{};
    for (size_t s = 0; s < all.size(); ++s)
      for (size_t i = 0; i < 257; ++i)
        all[s][i] = interpolate(anchorsOf(static_cast<ColorScale>(s)), static_cast<double>(i) / 256.0);  // an odd count: the middle of a diverging scale is exact
    return all;
  }();
  if (std::isnan(t)) return kNoValue;
  return tables[static_cast<size_t>(scale)][static_cast<size_t>(std::lround(256 * std::clamp(t, 0.0, 1.0)))];
}

QColor colorAt(ColorScale scale, double t) { return QColor::fromRgb(rgbAt(scale, t)); }

QColor layerColor(int layer, int layers) {
  return colorAt(ColorScale::depth, layers > 1 ? static_cast<double>(layer) / (layers - 1) : 0.0);
}

double contrast(const QColor& a, const QColor& b) {
  const double x = luminance(a), y = luminance(b);
  return (std::max(x, y) + 0.05) / (std::min(x, y) + 0.05);
}

QColor textOn(const QColor& background) {
  return contrast(background, Qt::white) >= contrast(background, Qt::black) ? QColor(Qt::white) : QColor(Qt::black);
}

QColor readable(QColor color, const QPalette& palette, double ratio) {
  const QColor base = palette.color(QPalette::Base), text = textOn(base);
  for (double part = 0; part <= 1.0; part += 0.05) {
    const QColor tried = mixed(color, text, part);
    if (contrast(tried, base) >= ratio) return tried;
  }
  return text;
}

QColor quiet(const QPalette& palette, double toText) {
  return mixed(palette.color(QPalette::Base), palette.color(QPalette::Text), toText);
}

void drawHatch(QPainter& painter, const QRectF& area, const QPalette& palette) {
  painter.save();
  painter.setClipRect(area, Qt::IntersectClip);
  painter.fillRect(area, palette.color(QPalette::Base));
  QColor line = quiet(palette, 0.28);
  painter.setPen(QPen(line, 1));
  painter.setRenderHint(QPainter::Antialiasing, true);
  // Lines share one grid over the whole picture, so neighboring cells join.
  const double step = 7;
  const double first = std::floor((area.left() + area.top()) / step) * step;
  for (double sum = first; sum <= area.right() + area.bottom(); sum += step)
    painter.drawLine(QPointF(sum - area.top(), area.top()), QPointF(sum - area.bottom(), area.bottom()));
  painter.restore();
}

void drawLegend(QPainter& painter, const QRectF& area, ColorScale scale, const QString& low, const QString& high,
                const QPalette& palette) {
  const bool standing = area.height() > area.width();
  QLinearGradient gradient(standing ? area.bottomLeft() : area.topLeft(), standing ? area.topLeft() : area.topRight());
  for (int i = 0; i <= 32; ++i) gradient.setColorAt(i / 32.0, colorAt(scale, i / 32.0));
  painter.fillRect(area, gradient);
  painter.setPen(quiet(palette, 0.5));
  painter.setBrush(Qt::NoBrush);
  painter.drawRect(area.adjusted(0, 0, -1, -1));
  painter.setPen(palette.color(QPalette::Text));
  const QFontMetricsF metrics(painter.font());
  if (standing) {
    painter.drawText(QPointF(area.right() + 4, area.top() + metrics.ascent()), high);
    painter.drawText(QPointF(area.right() + 4, area.bottom()), low);
  } else {
    const double y = area.center().y() + metrics.capHeight() / 2;
    painter.drawText(QPointF(area.left() - 5 - metrics.horizontalAdvance(low), y), low);
    painter.drawText(QPointF(area.right() + 5, y), high);
  }
}

QString scaleName(ColorScale scale) {
  switch (scale) {
    case ColorScale::viridis: return QStringLiteral("viridis");
    case ColorScale::redYellowGreen: return QStringLiteral("red-yellow-green");
    case ColorScale::blueWhiteOrange: return QStringLiteral("blue-white-orange");
    case ColorScale::depth: return QStringLiteral("depth");
    case ColorScale::cividis: break;
  }
  return QStringLiteral("cividis");
}

ColorScale scaleOfName(const QString& name, ColorScale otherwise) {
  for (const ColorScale scale : {ColorScale::cividis, ColorScale::viridis, ColorScale::redYellowGreen,
                                 ColorScale::blueWhiteOrange, ColorScale::depth})
    if (scaleName(scale) == name) return scale;
  return otherwise;
}

}  // namespace flashmorph
