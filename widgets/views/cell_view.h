// SPDX-License-Identifier: GPL-3.0-or-later
// A grid over context length (x) and depth (y, 0 on top): axes, picking, keys, zoom (+, -, 0, Ctrl+wheel)
// shared by all maps. What a cell shows is
// up to recall_map and difference_map.
#pragma once

#include <optional>

#include "core/run/recall_grid.h"
#include "widgets/state/selection.h"
#include "widgets/views/color_scale.h"
#include "widgets/views/view.h"

namespace flashmorph {

class CellView : public View {
  Q_OBJECT
 public:
  CellView(const QString& name, QWidget* parent);

  void draw(QPainter& painter, const QRectF& area) const override;
  QSize minimumSizeHint() const override { return {230, 150}; }
  QSize sizeHint() const override { return {420, 240}; }
  CellRef cellAt(QPointF position) const;
  QRectF cellRect(CellRef cell, const QRectF& area) const;
  QString copyText() const override;
  /// Two lines above the grid; the second may hold statistics.
  void setTitle(const QString& title, const QString& second = {});
  QString title() const { return m_title; }
  QString secondLine() const { return m_second; }
  /// Dashed line after the last length within this many tokens; 0: none.
  void setTrainedLength(int64_t tokens);
  virtual QString tipOf(CellRef cell) const = 0;

 protected:
  virtual const RecallGrid* axes() const = 0;  ///< nullptr: empty
  struct Look {
    QColor fill;
    QString text;
    bool dot = false;      ///< significant
    bool partial = false;  ///< fewer trials than wanted
  };
  virtual std::optional<Look> lookOf(CellRef cell) const = 0;  ///< nothing: hatched
  virtual void drawLegendAt(QPainter& painter, const QRectF& area) const = 0;

  void mouseMoveEvent(QMouseEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void leaveEvent(QEvent* event) override;
  void wheelEvent(QWheelEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  void fillMenu(QMenu& menu) override;
  bool event(QEvent* event) override;

 private:
  /// The shown part of the grid: first cell and number of cells of both axes.
  struct Part {
    int length = 0, lengths = 0, depth = 0, depths = 0;
    bool isAll = true;
    bool holds(CellRef cell) const { return cell.length >= length && cell.length < length + lengths && cell.depth >= depth && cell.depth < depth + depths; }
  };
  Part part() const;
  void zoom(double factor, CellRef around);
  QRectF plotRect(const QRectF& area) const;
  QString m_title, m_second;
  int64_t m_trainedLength = 0;
};

}  // namespace flashmorph
