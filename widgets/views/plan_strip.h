// SPDX-License-Identifier: GPL-3.0-or-later
// A plan by depth: one cell per layer, F full, dot linear, a bar over locked ones.
#pragma once

#include <vector>

#include "core/run/budget_solver.h"
#include "widgets/views/layer_view.h"

namespace flashmorph {

class PlanStrip : public LayerView {
  Q_OBJECT
 public:
  explicit PlanStrip(QWidget* parent = nullptr);

  void setData(const LayerPlan& plan, const std::vector<Lock>& locks = {});
  const LayerPlan& plan() const { return m_plan; }

  void draw(QPainter& painter, const QRectF& area) const override;
  Table table() const override;
  QString copyText() const override { return QString::fromStdString(m_plan.to_string()); }
  int layerAt(QPointF position) const override;
  QSize minimumSizeHint() const override { return {320, 40}; }
  QSize sizeHint() const override { return {640, 44}; }
  QRectF cellRect(int layer, const QRectF& area) const;

 protected:
  int layerCount() const override { return m_plan.layers; }
  QString tipOf(int layer) const override;

 private:
  LayerPlan m_plan;
  std::vector<Lock> m_locks;
};

}  // namespace flashmorph
