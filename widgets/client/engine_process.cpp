// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/client/engine_process.h"

#include <QElapsedTimer>
#include <QTimer>

namespace flashmorph {

EngineProcess::EngineProcess(EngineCommand command, QObject* parent)
    : Transport(parent), m_command(std::move(command)) {
  m_process.setProgram(m_command.program);
  m_process.setArguments(m_command.arguments);
  connect(&m_process, &QProcess::started, this, [this] {
    m_started = true;
    emit started();
  });
  connect(&m_process, &QProcess::readyReadStandardOutput, this, &EngineProcess::readOutput);
  connect(&m_process, &QProcess::readyReadStandardError, this,
          [this] { emit textArrived(QString::fromUtf8(m_process.readAllStandardError())); });
  connect(&m_process, &QProcess::errorOccurred, this, [this](QProcess::ProcessError error) {
    if (error != QProcess::FailedToStart || m_ended) return;
    m_ended = true;
    emit ended({false, false, 0, m_process.errorString()});
  });
  connect(&m_process, &QProcess::finished, this, [this](int code, QProcess::ExitStatus status) {
    if (m_ended) return;
    m_exited = true;
    m_end = {true, status == QProcess::CrashExit, code, m_process.errorString()};
    emit textArrived(QString::fromUtf8(m_process.readAllStandardError()));
    readOutput();
  });
}

EngineProcess::~EngineProcess() {
  m_ended = true;
  m_process.disconnect(this);
  if (m_process.state() == QProcess::NotRunning) return;
  m_process.closeWriteChannel();
  if (!m_process.waitForFinished(2000)) {
    m_process.kill();
    m_process.waitForFinished(1000);
  }
}

void EngineProcess::start() { m_process.start(); }

void EngineProcess::send(const QByteArray& line) {
  if (!m_ended && m_process.state() != QProcess::NotRunning) m_process.write(line);
}

void EngineProcess::finish() { m_process.closeWriteChannel(); }

void EngineProcess::kill() { m_process.kill(); }

void EngineProcess::readOutput() {
  m_lines.add(m_process.readAllStandardOutput());
  if (!m_delivering) deliver();
}

// A flood of lines is delivered in slices of 20 ms, so that the window stays quick.
void EngineProcess::deliver() {
  m_delivering = false;
  QElapsedTimer clock;
  clock.start();
  QByteArray line;
  for (;;) {
    const LineSplitter::Next next = m_lines.next(&line);
    if (next == LineSplitter::Next::none) break;
    if (next == LineSplitter::Next::tooLong)
      emit lineTooLong(m_lines.droppedBytes());
    else
      emit lineArrived(line);
    if (clock.elapsed() > 20 && m_lines.hasLine()) {
      m_delivering = true;
      QTimer::singleShot(0, this, &EngineProcess::deliver);
      return;
    }
  }
  if (m_exited && !m_ended) {
    m_ended = true;
    emit ended(m_end);
  }
}

}  // namespace flashmorph
