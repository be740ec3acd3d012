// SPDX-License-Identifier: GPL-3.0-or-later
// One row per layer: label, bar of the gate now, heat strip over the steps. 48 rows of 12 px stay
// readable.
#pragma once

#include <memory>
#include <vector>

#include <QImage>

#include "core/run/budget_solver.h"
#include "core/run/gate_rank.h"
#include "widgets/views/color_scale.h"
#include "widgets/views/layer_view.h"
#include "widgets/views/step_series.h"

namespace flashmorph {

struct GateRowsData {
  std::shared_ptr<const StepSeries> series;  ///< nullptr: bars only
  std::vector<double> now;                   ///< [L] length of the bars
  std::vector<double> score;                 ///< [L] or empty: tick on the bar
  std::vector<int> order;                    ///< rows from the top; empty: by depth
  std::vector<Lock> locks;                   ///< [L] or empty
  LayerPlan plan;                            ///< kept layers carry a mark; layers = 0: none
  StepRange range;
};

class GateRows : public LayerView {
  Q_OBJECT
 public:
  static constexpr int kRowHeight = 12;
  static constexpr double kStripLeft = 196;  ///< shared with the lines below: same step axis
  static constexpr double kStripRight = 74;

  explicit GateRows(QWidget* parent = nullptr);

  void setData(GateRowsData data);
  void setRange(StepRange range);
  void setScale(ColorScale scale);
  const GateRowsData& data() const { return m_data; }

  void draw(QPainter& painter, const QRectF& area) const override;
  Table table() const override;
  QString copyText() const override;
  int layerAt(QPointF position) const override;
  QSize minimumSizeHint() const override;
  QSize sizeHint() const override { return {760, minimumSizeHint().height()}; }
  /// The row of a layer in an area, and its parts.
  QRectF rowRect(int layer, const QRectF& area) const;
  static QRectF barRect(const QRectF& row);
  static QRectF stripRect(const QRectF& row);

 protected:
  int layerCount() const override { return static_cast<int>(m_data.now.size()); }
  std::vector<int> drawnOrder() const override;
  QString tipOf(int layer) const override;

 private:
  QImage strip(int columns) const;
  QRectF rowsArea(const QRectF& area) const;

  GateRowsData m_data;
  std::vector<int> m_rowOfLayer;
  ColorScale m_scale = ColorScale::cividis;
  mutable QImage m_strip;  ///< cache of the last strip: [L rows] x columns
};

}  // namespace flashmorph
