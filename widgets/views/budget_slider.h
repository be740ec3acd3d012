// SPDX-License-Identifier: GPL-3.0-or-later
// The budget K: layers kept full, between those locked full and those not locked linear; ticks at
// 6:1, 3:1 and 1:1.
#pragma once

#include <vector>

#include <QAbstractSlider>

namespace flashmorph {

class BudgetSlider : public QAbstractSlider {
  Q_OBJECT
 public:
  struct Tick {
    int K;
    QString text;
  };
  explicit BudgetSlider(QWidget* parent = nullptr);

  /// The scale runs over 0..layers, the handle over lowest..highest.
  void setLayers(int layers, int lowest, int highest);
  int layers() const { return m_layers; }
  std::vector<Tick> ticks() const;
  /// x of a K in the widget, and back.
  double xOf(int K) const;
  int budgetAt(double x) const;
  QSize minimumSizeHint() const override { return {240, 44}; }
  QSize sizeHint() const override { return {480, 44}; }

 protected:
  void paintEvent(QPaintEvent* event) override;
  void mousePressEvent(QMouseEvent* event) override;
  void mouseMoveEvent(QMouseEvent* event) override;
  void mouseReleaseEvent(QMouseEvent* event) override;

 private:
  int m_layers = 1;
};

}  // namespace flashmorph
