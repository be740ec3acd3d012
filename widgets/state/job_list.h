// SPDX-License-Identifier: GPL-3.0-or-later
// The jobs of this engine session as the stream tells them: state, progress, what a queued one waits
// for.
#pragma once

#include <cmath>
#include <limits>
#include <optional>

#include <QElapsedTimer>
#include <QList>
#include <QObject>

#include "core/run/event.h"
#include "widgets/client/failure.h"

namespace flashmorph {

class EngineClient;

struct Job {
  QString id, kind, state, reason;
  QString run;      ///< handle of the run it writes
  QString command;  ///< the same as a command line, if the start told it
  QString what;     ///< noun of done and total
  qint64 done = 0, total = 0, step = 0;
  double eta_s = std::numeric_limits<double>::quiet_NaN();
  double tokensPerSecond = std::numeric_limits<double>::quiet_NaN();
  bool stopAsked = false;  ///< Cancel was pressed: the button reads "stopping"
  qint64 stopAsked_ms = 0;
  std::optional<Failure> failure;

  bool isOver() const { return state == u"finished" || state == u"failed" || state == u"cancelled" || state == u"superseded"; }
  bool isActive() const { return state == u"running" || state == u"cancelling"; }
};

class JobList : public QObject {
  Q_OBJECT
 public:
  JobList(EngineClient* client, QObject* parent = nullptr);

  const QList<Job>& jobs() const { return m_jobs; }  ///< oldest first, at most 256 that are over
  const Job* find(const QString& id) const;
  const Job* active() const;  ///< the running one, nullptr: none
  /// The newest job that is not over and writes this run.
  const Job* ofRun(const QString& handle) const;
  void cancel(const QString& id, const QString& mode = QStringLiteral("now"));
  /// Milliseconds on the clock that stopAsked_ms is measured on.
  qint64 now_ms() const { return m_clock.elapsed(); }

 signals:
  void jobAdded(const QString& id);
  void jobChanged(const QString& id);
  void jobEnded(const QString& id);  ///< finished, failed, cancelled, superseded
  void reset();

 private:
  Job& at(const QString& id);
  void engineLost();

  EngineClient* m_client;
  QList<Job> m_jobs;
  QElapsedTimer m_clock;
};

}  // namespace flashmorph
