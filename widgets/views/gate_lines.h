// SPDX-License-Identifier: GPL-3.0-or-later
// Trajectories of all layers over the steps, thinned to pixels by min and max. Hovered, selected and
// the two layers at the cut are bold with labels at their ends; a brush zooms the steps.
#pragma once

#include <memory>
#include <vector>

#include "widgets/views/layer_view.h"
#include "widgets/views/step_series.h"

#include <QPixmap>

namespace flashmorph {

struct GateLinesData {
  std::shared_ptr<const StepSeries> series;
  std::vector<int> cut;  ///< layers just above and below the cut, bold too
  StepRange range;
};

class GateLines : public LayerView {
  Q_OBJECT
 public:
  explicit GateLines(QWidget* parent = nullptr);

  void setData(GateLinesData data);
  void setRange(StepRange range);
  const GateLinesData& data() const { return m_data; }

  void draw(QPainter& painter, const QRectF& area) const override;
  Table table() const override;
  int layerAt(QPointF position) const override;
  QSize minimumSizeHint() const override { return {420, 140}; }
  QSize sizeHint() const override { return {760, 220}; }
  static QRectF plotRect(const QRectF& area);
  /// The point of a value in the widget.
  QPointF pointOf(double step, double value) const;

 signals:
  void rangeBrushed(StepRange range);  ///< empty: everything again

 protected:
  int layerCount() const override { return m_data.series ? m_data.series->layers : 0; }
  QString tipOf(int layer) const override;
  void mousePressEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void mouseReleaseEvent(QMouseEvent* event) override;
  void mouseDoubleClickEvent(QMouseEvent* event) override;
  void selectionChanged() override;
  void changeEvent(QEvent* event) override;

 private:
  const ThinnedSeries& thin(int columns) const;
  void drawLine(QPainter& painter, const QRectF& plot, const ThinnedSeries& thin, int layer, const QColor& color, double width) const;
  void drawAxes(QPainter& painter, const QRectF& plot) const;
  void drawEndLabels(QPainter& painter, const QRectF& plot, const std::vector<int>& bold) const;
  std::vector<int> boldLayers() const;

  GateLinesData m_data;
  mutable ThinnedSeries m_thin;
  mutable int m_thinColumns = -1;
  mutable QPixmap m_background;  ///< all thin lines, so that hovering repaints little
  double m_brushFrom = -1, m_brushTo = -1;
};

}  // namespace flashmorph
