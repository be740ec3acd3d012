// SPDX-License-Identifier: GPL-3.0-or-later
// Paired differences.
#include "widgets/views/difference_map.h"

#include <algorithm>
#include <cmath>

#include "widgets/format/format.h"

namespace flashmorph {

DifferenceMap::DifferenceMap(QWidget* parent) : CellView(QStringLiteral("difference map"), parent) {
  setAccessibleName(tr("Difference of recall"));
  setAccessibleDescription(tr("Score minus that of the reference on the same prompts; a dot marks a sign test below .05"));
  setEmptyText(tr("Two evaluated plans are needed"));
}

void DifferenceMap::setData(std::shared_ptr<const RecallGrid> x, std::shared_ptr<const RecallGrid> reference, const QString& xName, const QString& referenceName) {
  m_x = std::move(x);
  m_reference = std::move(reference);
  m_xName = xName;
  m_referenceName = referenceName;
  m_cells.clear();
  if (axes())
    for (size_t i = 0; i < m_x->cells.size(); ++i) m_cells.push_back(compare(m_x->cells[i], m_reference->cells[i]));
  valuesChanged();
}

const RecallGrid* DifferenceMap::axes() const {
  return m_x && m_reference && m_x->same_axes(*m_reference) && m_x->cells.size() == m_reference->cells.size() ? m_x.get() : nullptr;
}

void DifferenceMap::setRange(double range) {
  m_range = range;
  update();
}

double DifferenceMap::range() const {
  if (m_range > 0) return m_range;
  double largest = 0;
  for (const PairedStatistics& cell : m_cells)
    if (cell.trials > 0) largest = std::max(largest, std::abs(cell.mean_difference));
  return std::max(0.1, std::ceil(largest * 10 - 1e-9) / 10);
}

std::optional<CellView::Look> DifferenceMap::lookOf(CellRef at) const {
  const PairedStatistics& cell = m_cells[static_cast<size_t>(at.length) * m_x->depths.size() + static_cast<size_t>(at.depth)];
  if (cell.trials == 0) return {};
  Look look;
  look.fill = colorAt(ColorScale::blueWhiteOrange, 0.5 + 0.5 * cell.mean_difference / range());
  look.text = format::signedNumber(cell.mean_difference, 2);
  look.dot = cell.sign_test_p < 0.05;
  look.partial = cell.trials < m_x->trials;
  return look;
}

QColor DifferenceMap::cellColor(CellRef cell) const {
  const auto look = axes() ? lookOf(cell) : std::nullopt;
  return look ? look->fill : QColor();
}

void DifferenceMap::drawLegendAt(QPainter& painter, const QRectF& area) const {
  drawLegend(painter, area, ColorScale::blueWhiteOrange, format::signedNumber(-range(), 1), format::signedNumber(range(), 1), palette());
}

QString hitsText(const PairedStatistics& p, const QString& x, const QString& reference) {
  return QObject::tr("%1 only %3, %2 only %4, both %5, neither %6").arg(x, reference).arg(p.a_only).arg(p.b_only).arg(p.both).arg(p.neither);
}

QString pairedText(const PairedStatistics& p, const QString& x, const QString& reference) {
  if (p.trials == 0) return QObject::tr("%1 - %2: no common trials").arg(x, reference);
  return QObject::tr("%1 − %2: %3, 95 % %4, %5").arg(x, reference, format::signedNumber(p.mean_difference, 3), format::signedInterval(p.interval, 3),
         format::counted(p.trials, QObject::tr("common trial")));
}

QString DifferenceMap::tipOf(CellRef at) const {
  const PairedStatistics& cell = m_cells[static_cast<size_t>(at.length) * m_x->depths.size() + static_cast<size_t>(at.depth)];
  QString text = QObject::tr("%1 tokens, depth %2").arg(format::tokens(m_x->lengths[static_cast<size_t>(at.length)]), format::percent(m_x->depths[static_cast<size_t>(at.depth)]));
  if (cell.trials == 0) return text + tr("\nno common trials");
  text += u'\n' + pairedText(cell, m_xName, m_referenceName);
  text += u'\n' + hitsText(cell, m_xName, m_referenceName);
  text += tr("\nsign test %1%2").arg(format::pValue(cell.sign_test_p), cell.sign_test_p < 0.05 ? tr(" (one cell in twenty by chance)") : QString());
  return text;
}

Table DifferenceMap::table() const {
  Table out{{"length_tokens", "depth_percent", "common_trials", "mean_difference", "difference_low", "difference_high", "x_only_hits", "reference_only_hits", "both_hits", "neither_hits", "sign_test_p"}, {}};
  if (!axes()) return out;
  for (size_t n = 0; n < m_x->lengths.size(); ++n)
    for (size_t d = 0; d < m_x->depths.size(); ++d) {
      const PairedStatistics& p = m_cells[n * m_x->depths.size() + d];
      out.rows.push_back({m_x->lengths[n], 100 * m_x->depths[d], p.trials, p.mean_difference, p.interval.low, p.interval.high, p.a_only, p.b_only, p.both, p.neither,
                          p.trials ? TableValue(p.sign_test_p) : TableValue()});
    }
  return out;
}

}  // namespace flashmorph
