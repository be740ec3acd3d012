// SPDX-License-Identifier: GPL-3.0-or-later
// Several plans over the same layers, one row a slot; layers that differ carry a mark.
#pragma once

#include <vector>

#include "core/run/layer_plan.h"
#include "widgets/views/layer_view.h"

namespace flashmorph {

struct PlanGridRow {
  int slot = 0;    ///< letter and color
  QString name;
  LayerPlan plan;
};

class PlanGrid : public LayerView {
  Q_OBJECT
 public:
  explicit PlanGrid(QWidget* parent = nullptr);

  /// Plans of another number of layers than the first are left out.
  void setData(std::vector<PlanGridRow> rows);
  const std::vector<PlanGridRow>& rows() const { return m_rows; }
  bool differs(int layer) const;

  void draw(QPainter& painter, const QRectF& area) const override;
  Table table() const override;
  int layerAt(QPointF position) const override;
  QSize minimumSizeHint() const override;
  QSize sizeHint() const override { return minimumSizeHint(); }
  QRectF cellRect(size_t row, int layer, const QRectF& area) const;

 protected:
  int layerCount() const override { return m_rows.empty() ? 0 : m_rows.front().plan.layers; }
  QString tipOf(int layer) const override;

 private:
  std::vector<PlanGridRow> m_rows;
};

}  // namespace flashmorph
