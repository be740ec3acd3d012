// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/state/selection.h"

namespace flashmorph {

void Selection::select(int layer) { setLayers({layer}); }

void Selection::toggle(int layer) {
  std::set<int> layers = m_layers;
  if (!layers.erase(layer)) layers.insert(layer);
  setLayers(layers);
}

void Selection::setLayers(const std::set<int>& layers) {
  if (layers == m_layers) return;
  m_layers = layers;
  emit layersChanged();
}

void Selection::clear() {
  setLayers({});
  selectCell({});
}

void Selection::hoverLayer(int layer) {
  if (layer == m_hoveredLayer) return;
  m_hoveredLayer = layer;
  emit hoveredLayerChanged(layer);
}

void Selection::selectCell(CellRef cell) {
  if (cell == m_cell) return;
  m_cell = cell;
  emit cellChanged(cell);
}

void Selection::setZoom(CellZoom zoom) {
  if (zoom == m_zoom) return;
  m_zoom = zoom;
  emit zoomChanged();
}

void Selection::hoverCell(CellRef cell) {
  if (cell == m_hoveredCell) return;
  m_hoveredCell = cell;
  emit hoveredCellChanged(cell);
}

}  // namespace flashmorph
