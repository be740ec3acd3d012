// SPDX-License-Identifier: GPL-3.0-or-later
// From a value in 0..1 to a color. Data colors are the same in light and dark themes.
#pragma once

#include <QColor>
#include <QRgb>
#include <QString>

class QPainter;
class QPalette;
class QRectF;

namespace flashmorph {

enum class ColorScale {
  cividis,         ///< default: even steps of lightness, safe for color-blind eyes
  viridis,
  redYellowGreen,
  blueWhiteOrange, ///< diverging around 0.5
  depth,           ///< place of a layer in the stack: hue only, readable on white and on dark
};

/// t is clamped to 0..1; NaN gives gray.
QColor colorAt(ColorScale scale, double t);
/// The same from a table of 257 entries, for images.
QRgb rgbAt(ColorScale scale, double t);
/// The color of a layer in every view and run.
QColor layerColor(int layer, int layers);

/// Contrast of WCAG 2, 1..21.
double contrast(const QColor& a, const QColor& b);
/// Black or white, whichever reads better: at least 4.5 : 1 on any opaque color.
QColor textOn(const QColor& background);
/// `color` moved toward the text of the palette until it has `ratio` against its base.
QColor readable(QColor color, const QPalette& palette, double ratio = 4.5);
/// A quiet line or label color between text and base of the palette.
QColor quiet(const QPalette& palette, double toText = 0.62);

/// Diagonal hatch: "no value here".
void drawHatch(QPainter& painter, const QRectF& area, const QPalette& palette);
/// Color bar with the texts of both ends, `horizontal` or standing.
void drawLegend(QPainter& painter, const QRectF& area, ColorScale scale, const QString& low, const QString& high,
                const QPalette& palette);

QString scaleName(ColorScale scale);
ColorScale scaleOfName(const QString& name, ColorScale otherwise = ColorScale::cividis);

}  // namespace flashmorph
