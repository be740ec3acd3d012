// SPDX-License-Identifier: GPL-3.0-or-later
// The scores as standing bars, best first, with the cut of the budget between them.
#pragma once

#include <vector>

#include "core/run/budget_solver.h"
#include "widgets/views/layer_view.h"

namespace flashmorph {

struct GateBarsData {
  std::vector<double> score;  ///< [L]
  std::vector<Lock> locks;    ///< [L] or empty
  BudgetSolution solution;
  bool provisional = false;   ///< still training: hollow look
};

class GateBars : public LayerView {
  Q_OBJECT
 public:
  explicit GateBars(QWidget* parent = nullptr);

  void setData(GateBarsData data);
  const GateBarsData& data() const { return m_data; }

  void draw(QPainter& painter, const QRectF& area) const override;
  Table table() const override;
  int layerAt(QPointF position) const override;
  QSize minimumSizeHint() const override { return {320, 96}; }
  QSize sizeHint() const override { return {640, 130}; }
  /// The column of a layer.
  QRectF columnRect(int layer, const QRectF& area) const;
  /// x of the cut line; nothing is cut where all or no free layer is kept.
  double cutX(const QRectF& area) const;

 protected:
  int layerCount() const override { return static_cast<int>(m_data.score.size()); }
  std::vector<int> drawnOrder() const override;
  QString tipOf(int layer) const override;

 private:
  bool isLocked(int layer) const;
  GateBarsData m_data;
};

}  // namespace flashmorph
