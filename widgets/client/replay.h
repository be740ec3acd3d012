// SPDX-License-Identifier: GPL-3.0-or-later
// A recorded stream played without an engine: its notifications in their own time, recorded answers
// for the calls that were made then.
#pragma once

#include <QList>
#include <QString>
#include <QTimer>

#include <nlohmann/json.hpp>

#include "widgets/client/transport.h"

namespace flashmorph {

/// Lines of a .jsonl: protocol messages of both directions, "t_s" (seconds since the start) beside
/// "jsonrpc" where the recorder wrote it. A line may also be {"t_s": .., "dir": ">" or "<",
/// "message": {..}}. Lines that are no messages are skipped and counted.
class ReplayTransport : public Transport {
  Q_OBJECT
 public:
  /// speed: 1 as recorded, 10 ten times faster, 0 as fast as it can be shown.
  explicit ReplayTransport(const QString& path, double speed = 1, QObject* parent = nullptr);

  void start() override;
  /// A recorded request of this method (the same params first) is answered as it was then; any other
  /// gets error 1003 "this is a recording".
  void send(const QByteArray& line) override;
  void finish() override;
  void kill() override;
  QString where() const override { return m_path; }
  bool isLive() const override { return false; }

  void setSpeed(double speed);
  double speed() const { return m_speed; }
  void setPaused(bool paused);
  bool isPaused() const { return m_paused; }
  /// Notifications played, and all there are.
  int position() const { return m_next; }
  int size() const { return static_cast<int>(m_notifications.size()); }
  int skippedLines() const { return m_skipped; }

 signals:
  void positionChanged(int position, int size);
  void finished();  ///< everything played; the transport stays up for questions

 private:
  struct Line {
    double t_s = 0;
    QByteArray text;
  };
  struct Exchange {
    std::string method;
    nlohmann::json params, answer;  ///< answer: {"result": ..} or {"error": ..}
    bool used = false;
  };
  bool load(QString* why);
  void playNext();
  nlohmann::json runSummary(const std::string& handle) const;

  QString m_path;
  double m_speed;
  bool m_paused = false, m_ended = false;
  QList<Line> m_notifications;
  QList<Exchange> m_exchanges;
  int m_next = 0, m_skipped = 0;
  QTimer m_timer;
};

}  // namespace flashmorph
