// SPDX-License-Identifier: GPL-3.0-or-later
// X minus reference, cell by cell over the trials both have run; dots where the sign test is below
// .05, hatched where either is missing.
#pragma once

#include <memory>

#include "widgets/views/cell_view.h"

namespace flashmorph {

class DifferenceMap : public CellView {
  Q_OBJECT
 public:
  explicit DifferenceMap(QWidget* parent = nullptr);

  /// Both or neither; grids of different axes show nothing (the page says why).
  void setData(std::shared_ptr<const RecallGrid> x, std::shared_ptr<const RecallGrid> reference, const QString& xName, const QString& referenceName);
  /// Half of the symmetric range; 0: the largest difference there is, rounded up to a tenth.
  void setRange(double range);
  double range() const;
  QColor cellColor(CellRef cell) const;

  Table table() const override;
  QString tipOf(CellRef cell) const override;

 protected:
  const RecallGrid* axes() const override;
  std::optional<Look> lookOf(CellRef cell) const override;
  void drawLegendAt(QPainter& painter, const QRectF& area) const override;

 private:
  std::shared_ptr<const RecallGrid> m_x, m_reference;
  QString m_xName, m_referenceName;
  std::vector<PairedStatistics> m_cells;  ///< [N, D]
  double m_range = 0;
};

/// "+0.12, 95 % [+0.03, +0.21], 320 common trials, A only 40, B only 12": the header of a comparison.
QString pairedText(const PairedStatistics& paired, const QString& x, const QString& reference);
/// "A only 7, B only 2, both 9, neither 2".
QString hitsText(const PairedStatistics& paired, const QString& x, const QString& reference);

}  // namespace flashmorph
