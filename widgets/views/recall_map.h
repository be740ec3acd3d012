// SPDX-License-Identifier: GPL-3.0-or-later
// Recall of one plan over length and depth, fixed 0..1, or its negative log-likelihood.
#pragma once

#include <memory>

#include "widgets/views/cell_view.h"

namespace flashmorph {

enum class RecallQuantity { score, nll };

class RecallMap : public CellView {
  Q_OBJECT
 public:
  explicit RecallMap(QWidget* parent = nullptr);

  /// nullptr: empty. A grid without trials is all hatched.
  void setData(std::shared_ptr<const RecallGrid> grid);
  const RecallGrid* grid() const { return m_grid.get(); }
  void setQuantity(RecallQuantity quantity);
  RecallQuantity quantity() const { return m_quantity; }
  /// Upper end of the scale of NLL, nat per token; maps beside each other share it.
  void setNllTop(double nats);
  void setScale(ColorScale scale);
  ColorScale scale() const { return m_scale; }
  /// The color of a cell, as painted; invalid where it is hatched.
  QColor cellColor(CellRef cell) const;

  Table table() const override;
  QString tipOf(CellRef cell) const override;

 protected:
  const RecallGrid* axes() const override { return m_grid.get(); }
  std::optional<Look> lookOf(CellRef cell) const override;
  void drawLegendAt(QPainter& painter, const QRectF& area) const override;
  void fillMenu(QMenu& menu) override;

 private:
  std::shared_ptr<const RecallGrid> m_grid;
  RecallQuantity m_quantity = RecallQuantity::score;
  ColorScale m_scale = ColorScale::cividis;
  double m_nllTop = 6;
};

/// Rows length_tokens, depth_percent, trials, hits, score, hit rate with interval, NLL.
Table tableOfGrid(const RecallGrid& grid);

}  // namespace flashmorph
