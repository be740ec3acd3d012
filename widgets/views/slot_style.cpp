// SPDX-License-Identifier: GPL-3.0-or-later
// Looks of slots (Okabe and Ito's palette, apart for color-blind eyes).
#include "widgets/views/slot_style.h"

#include <algorithm>
#include <array>

namespace flashmorph {

// A to Z, then AA, AB, ... as columns of a spreadsheet.
QString slotLetter(int slot) {
  slot = std::max(0, slot);
  const QString last(QChar(static_cast<char16_t>(u'A' + slot % 26)));
  return slot < 26 ? last : slotLetter(slot / 26 - 1) + last;
}

QColor slotColor(int slot) {
  static constexpr std::array<QRgb, 4> kColors = {0xff0072b2, 0xffd55e00, 0xff009e73, 0xffcc79a7};
  return QColor::fromRgb(kColors[static_cast<size_t>(slot) % kColors.size()]);
}

Qt::BrushStyle slotHatch(int slot) {
  static constexpr std::array<Qt::BrushStyle, 4> kStyles = {Qt::SolidPattern, Qt::BDiagPattern, Qt::Dense4Pattern, Qt::CrossPattern};
  return kStyles[static_cast<size_t>(slot) % kStyles.size()];
}

}  // namespace flashmorph
