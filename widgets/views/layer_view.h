// SPDX-License-Identifier: GPL-3.0-or-later
// A view made of layers: hover highlights, click selects, Ctrl adds, arrow keys walk.
#pragma once

#include "widgets/views/view.h"

namespace flashmorph {

class LayerView : public View {
  Q_OBJECT
 public:
  using View::View;

  /// The layer drawn at a point of the widget, -1: none.
  virtual int layerAt(QPointF position) const = 0;

 signals:
  /// F, L, U pressed on the selected layers.
  void lockPressed(QChar key);

 protected:
  virtual int layerCount() const = 0;
  /// Where the arrow keys go: the layers in the order they are drawn.
  virtual std::vector<int> drawnOrder() const;
  /// Text of the tooltip, empty: none.
  virtual QString tipOf(int) const { return {}; }

  void mouseMoveEvent(QMouseEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void leaveEvent(QEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  bool event(QEvent* event) override;
};

}  // namespace flashmorph
