// SPDX-License-Identifier: GPL-3.0-or-later
// Gates: one row per layer with bar and strip, lines below on the same step axis, side plots. Follows
// a live run or stands still (Space).
#pragma once

#include <array>

#include <QTimer>
#include <QWidget>

#include "widgets/client/engine_client.h"
#include "widgets/state/run_store.h"
#include "widgets/state/selection.h"
#include "widgets/state/workspace.h"
#include "widgets/views/axis.h"

class QComboBox;
class QLabel;
class QPushButton;
class QToolButton;
class QStackedWidget;

namespace flashmorph {

class CurveChart;
class GateLines;
class GateRows;

class GatesPage : public QWidget {
  Q_OBJECT
 public:
  GatesPage(EngineClient* client, RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent = nullptr);

  bool isFollowing() const { return m_following; }
  void setFollowing(bool on);
  StepRange range() const { return m_range; }
  void setRange(StepRange range);
  GateRows* rows() const { return m_rows; }
  GateLines* lines() const { return m_lines; }
  CurveChart* chart(int index) const { return m_charts[static_cast<size_t>(index)]; }
  QString notices() const;
  /// Shows what the store holds now.
  void refresh();

 signals:
  void trainRequested();  ///< the empty page's button
  void resumeRequested(const QString& run);

 protected:
  void keyPressEvent(QKeyEvent* event) override;

 private:
  void arrived(const QString& run, bool rowsOnly);
  void updateNotices(const Run& run, int budget);

  RunStore* m_store;
  Workspace* m_workspace;
  QStackedWidget* m_stack;
  QLabel *m_title, *m_notices;
  QComboBox* m_sort;
  QToolButton *m_follow, *m_all;
  QPushButton* m_resume;
  QWidget* m_side;
  GateRows* m_rows;
  GateLines* m_lines;
  std::array<CurveChart*, 4> m_charts{};
  QTimer m_due;
  bool m_following = true;
  StepRange m_range;
  QString m_shown;
  size_t m_noticeRows = 0;
};

}  // namespace flashmorph
