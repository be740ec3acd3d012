// SPDX-License-Identifier: GPL-3.0-or-later
// Cells of one plan.
#include "widgets/views/recall_map.h"

#include <algorithm>
#include <cmath>

#include <QMenu>

#include "widgets/format/format.h"

namespace flashmorph {

RecallMap::RecallMap(QWidget* parent) : CellView(QStringLiteral("recall map"), parent) {
  setAccessibleName(tr("Recall over length and depth"));
  setAccessibleDescription(tr("Share of right answer tokens for each context length and depth; arrow keys walk the cells"));
  setEmptyText(tr("No eval set yet"));
}

void RecallMap::setData(std::shared_ptr<const RecallGrid> grid) {
  m_grid = std::move(grid);
  valuesChanged();
}

void RecallMap::setQuantity(RecallQuantity quantity) {
  m_quantity = quantity;
  update();
}

void RecallMap::setNllTop(double nats) {
  m_nllTop = std::isfinite(nats) && nats > 0 ? nats : 6;
  update();
}

void RecallMap::setScale(ColorScale scale) {
  m_scale = scale;
  update();
}

std::optional<CellView::Look> RecallMap::lookOf(CellRef at) const {
  const RecallCell& cell = m_grid->at(at.length, at.depth);
  const double value = m_quantity == RecallQuantity::score ? cell.score : cell.nll_nats;
  if (cell.trials == 0 || !std::isfinite(value)) return {};
  Look look;
  // Low NLL is good: the scale runs the other way, so that light is good in both.
  look.fill = colorAt(m_scale, m_quantity == RecallQuantity::score ? value : 1 - value / m_nllTop);
  look.text = format::number(value, 2);
  look.partial = cell.trials < m_grid->trials;
  return look;
}

QColor RecallMap::cellColor(CellRef cell) const {
  const auto look = m_grid ? lookOf(cell) : std::nullopt;
  return look ? look->fill : QColor();
}

void RecallMap::drawLegendAt(QPainter& painter, const QRectF& area) const {
  if (m_quantity == RecallQuantity::score) drawLegend(painter, area, m_scale, QStringLiteral("0.0"), QStringLiteral("1.0"), palette());
  else drawLegend(painter, area, m_scale, format::number(m_nllTop, 1) + tr(" nat"), QStringLiteral("0"), palette());
}

QString RecallMap::tipOf(CellRef at) const {
  const RecallCell& cell = m_grid->at(at.length, at.depth);
  QString text = tr("%1 tokens, depth %2").arg(format::tokens(m_grid->lengths[static_cast<size_t>(at.length)]), format::percent(m_grid->depths[static_cast<size_t>(at.depth)]));
  if (cell.trials == 0) return text + tr("\nnot evaluated");
  text += tr("\nmean score %1 (share of answer tokens right)").arg(format::number(cell.score, 3));
  text += tr("\n%1 of %2 prompts all right, 95 % %3 (Wilson)").arg(cell.hits).arg(cell.trials).arg(format::interval(cell.interval()));
  text += tr("\nNLL %1 nat per answer token").arg(format::number(cell.nll_nats, 3));
  if (cell.trials < m_grid->trials) text += tr("\n%1 of %2 trials so far").arg(cell.trials).arg(m_grid->trials);
  return text;
}

void RecallMap::fillMenu(QMenu& menu) {
  CellView::fillMenu(menu);
  menu.addSeparator();
  for (const ColorScale scale : {ColorScale::cividis, ColorScale::viridis, ColorScale::redYellowGreen}) {
    QAction* action = menu.addAction(scaleName(scale), this, [this, scale] { setScale(scale); });
    action->setCheckable(true);
    action->setChecked(scale == m_scale);
  }
}

Table tableOfGrid(const RecallGrid& grid) {
  Table out{{"length_tokens", "depth_percent", "trials", "hits", "score", "hit_rate_low", "hit_rate_high", "nll_nats_per_token"}, {}};
  for (size_t n = 0; n < grid.lengths.size(); ++n)
    for (size_t d = 0; d < grid.depths.size(); ++d) {
      const RecallCell& cell = grid.at(static_cast<int>(n), static_cast<int>(d));
      const Interval range = cell.interval();
      out.rows.push_back({grid.lengths[n], 100 * grid.depths[d], static_cast<int64_t>(cell.trials), static_cast<int64_t>(cell.hits), cell.score,
                          cell.trials ? TableValue(range.low) : TableValue(), cell.trials ? TableValue(range.high) : TableValue(), cell.nll_nats});
    }
  return out;
}

Table RecallMap::table() const { return m_grid ? tableOfGrid(*m_grid) : Table{}; }

}  // namespace flashmorph
