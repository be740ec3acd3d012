// SPDX-License-Identifier: GPL-3.0-or-later
// The engine as a child process: lines over stdin and stdout, stderr as text.
#pragma once

#include <QProcess>

#include "widgets/client/engine_command.h"
#include "widgets/client/line_splitter.h"
#include "widgets/client/transport.h"

namespace flashmorph {

class EngineProcess : public Transport {
  Q_OBJECT
 public:
  explicit EngineProcess(EngineCommand command, QObject* parent = nullptr);
  /// Closes the engine's input and gives it two seconds to save; then it is on its own no longer.
  ~EngineProcess() override;

  void start() override;
  void send(const QByteArray& line) override;
  void finish() override;
  void kill() override;
  QString where() const override { return m_command.text(); }
  QString host() const override { return m_command.host; }
  qint64 processId() const { return m_process.processId(); }

 private:
  void readOutput();
  void deliver();

  EngineCommand m_command;
  QProcess m_process;
  LineSplitter m_lines;
  bool m_ended = false, m_started = false, m_delivering = false, m_exited = false;
  TransportEnd m_end;
};

}  // namespace flashmorph
