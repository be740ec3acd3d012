// SPDX-License-Identifier: GPL-3.0-or-later
// Letter, color and hatch of the four places of Compare.
#pragma once

#include <QColor>
#include <QString>

namespace flashmorph {

/// "A" .. "D".
QString slotLetter(int slot);
QColor slotColor(int slot);
Qt::BrushStyle slotHatch(int slot);

}  // namespace flashmorph
