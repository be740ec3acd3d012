// SPDX-License-Identifier: GPL-3.0-or-later
// A few curves over steps (loss, penalty, mean gate), or one value per layer; drawn by Qt Charts.
#pragma once

#include <memory>
#include <vector>

#include <QColor>

#include "widgets/views/axis.h"
#include "widgets/views/view.h"

class QGraphicsScene;
class QChart;

namespace flashmorph {

struct Curve {
  QString name;
  std::vector<double> x, y;  ///< same size; NaN in y: a gap (left out)
  QColor color;              ///< invalid: the palette's text color
  bool dashed = false;
};

struct CurveChartData {
  QString title, xName = QStringLiteral("step"), yName, unit = QStringLiteral("1");
  std::vector<Curve> curves;
  StepRange range;           ///< of x; empty: everything
  bool points = false;       ///< markers instead of a line (values per layer)
  bool fromZero = false;     ///< y axis starts at 0
};

class CurveChart : public View {
  Q_OBJECT
 public:
  explicit CurveChart(QWidget* parent = nullptr);
  ~CurveChart() override;

  void setData(CurveChartData data);
  void setRange(StepRange range);
  const CurveChartData& data() const { return m_data; }

  void draw(QPainter& painter, const QRectF& area) const override;
  Table table() const override;
  QSize minimumSizeHint() const override { return {180, 110}; }
  QSize sizeHint() const override { return {260, 150}; }

 protected:
  void changeEvent(QEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;

 private:
  void build() const;
  CurveChartData m_data;
  mutable std::unique_ptr<QGraphicsScene> m_scene;
  mutable QChart* m_chart = nullptr;  ///< owned by the scene
  mutable bool m_built = false;
};

}  // namespace flashmorph
