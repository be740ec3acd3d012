// SPDX-License-Identifier: GPL-3.0-or-later
// Jobs: queue, progress, what one waits for; Pause, Cancel, and Force stop when a stop takes long.
#pragma once

#include <QDockWidget>
#include <QHash>
#include <QTimer>

class QLabel;
class QProgressBar;
class QPushButton;
class QVBoxLayout;

namespace flashmorph {

class EngineClient;
class JobList;
struct Job;

class JobsDock : public QDockWidget {
  Q_OBJECT
 public:
  JobsDock(EngineClient* client, JobList* jobs, QWidget* parent = nullptr);

 signals:
  void resumeAsked(const QString& job);  ///< a stopped or failed job from its checkpoint

 private:
  struct Row {
    QWidget* widget = nullptr;
    QLabel* text = nullptr;
    QProgressBar* bar = nullptr;
    QPushButton *pause = nullptr, *cancel = nullptr, *force = nullptr, *resume = nullptr;
  };
  void refresh(const QString& id);
  void rebuild();
  Row makeRow(const QString& id);

  EngineClient* m_client;
  JobList* m_jobs;
  QVBoxLayout* m_layout;
  QLabel* m_empty;
  QHash<QString, Row> m_rows;
  QTimer m_tick;
};

}  // namespace flashmorph
