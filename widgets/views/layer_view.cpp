// SPDX-License-Identifier: GPL-3.0-or-later
// Mouse and keys of views made of layers.
#include "widgets/views/layer_view.h"

#include <algorithm>
#include <numeric>

#include <QHelpEvent>
#include <QKeyEvent>
#include <QMouseEvent>
#include <QToolTip>

#include "widgets/state/selection.h"

namespace flashmorph {

std::vector<int> LayerView::drawnOrder() const {
  std::vector<int> order(static_cast<size_t>(layerCount()));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

void LayerView::mouseMoveEvent(QMouseEvent* event) {
  if (selection()) selection()->hoverLayer(layerAt(event->position()));
}

void LayerView::leaveEvent(QEvent* event) {
  if (selection()) selection()->hoverLayer(-1);
  View::leaveEvent(event);
}

void LayerView::mousePressEvent(QMouseEvent* event) {
  if (event->button() != Qt::LeftButton || !selection()) return;
  const int layer = layerAt(event->position());
  if (layer < 0) selection()->clear();
  else if (event->modifiers() & Qt::ControlModifier) selection()->toggle(layer);
  else selection()->select(layer);
}

void LayerView::keyPressEvent(QKeyEvent* event) {
  const auto order = drawnOrder();
  if (selection() && !order.empty()) {
    const int key = event->key();
    const bool next = key == Qt::Key_Down || key == Qt::Key_Right, back = key == Qt::Key_Up || key == Qt::Key_Left;
    if ((next || back) && !(event->modifiers() & Qt::ControlModifier)) {
      const auto& chosen = selection()->layers();
      auto at = chosen.empty() ? order.end() : std::find(order.begin(), order.end(), next ? *chosen.rbegin() : *chosen.begin());
      if (chosen.size() == 1) at = std::find(order.begin(), order.end(), *chosen.begin());
      if (at == order.end()) at = next ? order.begin() : order.end() - 1;
      else if (next && at + 1 != order.end()) ++at;
      else if (back && at != order.begin()) --at;
      selection()->select(*at);
      return;
    }
    if (key == Qt::Key_F || key == Qt::Key_L || key == Qt::Key_U) {
      if (event->modifiers() == Qt::NoModifier) {
        emit lockPressed(QChar(key));
        return;
      }
    }
    if (key == Qt::Key_Escape) {
      selection()->clear();
      return;
    }
  }
  View::keyPressEvent(event);
}

bool LayerView::event(QEvent* event) {
  if (event->type() == QEvent::ToolTip) {
    auto* help = static_cast<QHelpEvent*>(event);
    const int layer = layerAt(help->pos());
    const QString text = layer < 0 ? QString() : tipOf(layer);
    if (text.isEmpty()) QToolTip::hideText();
    else QToolTip::showText(help->globalPos(), text, this);
    return true;
  }
  return View::event(event);
}

}  // namespace flashmorph
