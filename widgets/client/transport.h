// SPDX-License-Identifier: GPL-3.0-or-later
// What carries lines between the window and an engine: a process (local or over ssh), a recorded
// stream, or a fake in tests.
#pragma once

#include <QByteArray>
#include <QObject>
#include <QString>
#include <QStringList>

namespace flashmorph {

/// How the other end went away.
struct TransportEnd {
  bool started = false;  ///< false: never came up (no such program, no permission)
  bool crashed = false;  ///< died of a signal
  int exitCode = 0;      ///< of a process that left by itself
  QString reason;        ///< operating system's words, may be empty
};

class Transport : public QObject {
  Q_OBJECT
 public:
  using QObject::QObject;
  virtual void start() = 0;
  /// One message with its newline. Without effect after ended().
  virtual void send(const QByteArray& line) = 0;
  /// Closes the engine's input: it saves, stops its job and leaves by itself.
  virtual void finish() = 0;
  /// Ends it at once; nothing is saved. Only when the user asks.
  virtual void kill() = 0;
  /// The command line or the file, for people.
  virtual QString where() const = 0;
  /// false: a recording, there is nobody to ask.
  virtual bool isLive() const { return true; }
  /// "" for an engine on this machine, the host name over ssh: paths read host:path.
  virtual QString host() const { return {}; }

 signals:
  void started();
  void lineArrived(const QByteArray& line);  ///< without newline, at most kMaxLineBytes
  void lineTooLong(qint64 bytes);            ///< a longer one was dropped
  void textArrived(const QString& text);     ///< what the engine printed beside the protocol
  void ended(const TransportEnd& end);       ///< last signal
};

}  // namespace flashmorph
