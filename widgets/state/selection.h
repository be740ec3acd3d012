// SPDX-License-Identifier: GPL-3.0-or-later
// What the user points at, shared by all views: a set of layers, one hovered layer, one cell and the
// zoomed part of the recall maps. Hover highlights, click selects, Ctrl adds.
#pragma once

#include <set>

#include <QObject>

namespace flashmorph {

/// A cell of a recall map by its indices; -1, -1: none.
struct CellRef {
  int length = -1, depth = -1;
  bool isValid() const { return length >= 0 && depth >= 0; }
  bool operator==(const CellRef&) const = default;
};

/// The part of the recall maps that is shown, as shares of both axes; 0..1, 0..1: everything.
struct CellZoom {
  double left = 0, right = 1, top = 0, bottom = 1;
  bool isAll() const { return left <= 0 && right >= 1 && top <= 0 && bottom >= 1; }
  bool operator==(const CellZoom&) const = default;
};

class Selection : public QObject {
  Q_OBJECT
 public:
  using QObject::QObject;

  const std::set<int>& layers() const { return m_layers; }
  bool isSelected(int layer) const { return m_layers.count(layer) > 0; }
  int hoveredLayer() const { return m_hoveredLayer; }  ///< -1: none
  CellRef cell() const { return m_cell; }
  CellRef hoveredCell() const { return m_hoveredCell; }
  CellZoom zoom() const { return m_zoom; }

  void select(int layer);  ///< this layer alone
  void toggle(int layer);  ///< as Ctrl+click
  void setLayers(const std::set<int>& layers);
  void clear();
  void hoverLayer(int layer);  ///< -1: none
  void selectCell(CellRef cell);
  void hoverCell(CellRef cell);
  void setZoom(CellZoom zoom);

 signals:
  void layersChanged();
  void hoveredLayerChanged(int layer);
  void cellChanged(CellRef cell);
  void hoveredCellChanged(CellRef cell);
  void zoomChanged();

 private:
  std::set<int> m_layers;
  int m_hoveredLayer = -1;
  CellRef m_cell, m_hoveredCell;
  CellZoom m_zoom;
};

}  // namespace flashmorph
