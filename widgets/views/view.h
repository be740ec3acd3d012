// SPDX-License-Identifier: GPL-3.0-or-later
// A painted view: values in, picture out. Draws on any painter, so that screen, PNG and SVG agree;
// the same values are there as a table.
#pragma once

#include <QWidget>

#include "core/run/text_export.h"

namespace flashmorph {

class Selection;
class TableModel;

class View : public QWidget {
  Q_OBJECT
 public:
  explicit View(const QString& name, QWidget* parent = nullptr);

  /// Draws everything into `area` in the colors of palette(); a header line says what it is.
  virtual void draw(QPainter& painter, const QRectF& area) const = 0;
  /// The same values in long form, units in the column names.
  virtual Table table() const = 0;
  /// What Ctrl+C puts on the clipboard: the value under the cursor, else the table.
  virtual QString copyText() const;
  /// The table as an item model, kept up to date while somebody looks at it.
  TableModel* model();

  /// What layers and cell the user points at, shared with the other views. May be nullptr.
  void setSelection(Selection* selection);
  Selection* selection() const { return m_selection; }

  /// Sentence in the middle of an empty view.
  void setEmptyText(const QString& text);
  /// Last values stay, in gray, under this sentence; empty: all is well.
  void setBanner(const QString& text);
  bool isStale() const { return !m_banner.isEmpty(); }

  int paints() const { return m_paints; }                ///< so far
  double longestPaint_ms() const { return m_longest_ms; }

 public slots:
  void showTable();

 signals:
  void exportRequested(View* view);

 protected:
  /// Values changed: repaints, refreshes the table.
  void valuesChanged();
  void drawEmpty(QPainter& painter, const QRectF& area) const;
  virtual void selectionChanged() { update(); }
  virtual void fillMenu(QMenu&) {}

  void paintEvent(QPaintEvent* event) override;
  void contextMenuEvent(QContextMenuEvent* event) override;
  void keyPressEvent(QKeyEvent* event) override;
  void changeEvent(QEvent* event) override;

  QString m_emptyText;

 private:
  Selection* m_selection = nullptr;
  TableModel* m_model = nullptr;
  QString m_banner;
  int m_paints = 0;
  double m_longest_ms = 0;
};

}  // namespace flashmorph
