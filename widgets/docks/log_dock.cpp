// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/docks/log_dock.h"

#include <QFontDatabase>
#include <QPlainTextEdit>
#include <QTabWidget>
#include <QTime>

#include "widgets/client/engine_client.h"

namespace flashmorph {

namespace {

QPlainTextEdit* pane(const QString& objectName, const QString& name) {
  auto* edit = new QPlainTextEdit;
  edit->setObjectName(objectName);
  edit->setAccessibleName(name);
  edit->setReadOnly(true);
  edit->setMaximumBlockCount(5000);
  edit->setFont(QFontDatabase::systemFont(QFontDatabase::FixedFont));
  edit->setFrameShape(QFrame::NoFrame);
  return edit;
}

}  // namespace

LogDock::LogDock(EngineClient* client, QWidget* parent) : QDockWidget(tr("Log"), parent), m_tabs(new QTabWidget) {
  setObjectName(QStringLiteral("logDock"));
  setAccessibleName(tr("Log"));
  m_tabs->setObjectName(QStringLiteral("logTabs"));
  m_tabs->setAccessibleName(tr("Log and engine output"));
  m_tabs->setDocumentMode(true);
  m_events = pane(QStringLiteral("logEvents"), tr("Events"));
  m_output = pane(QStringLiteral("engineOutput"), tr("Engine output"));
  m_tabs->addTab(m_events, tr("Events"));
  m_tabs->addTab(m_output, tr("Engine output"));
  setWidget(m_tabs);
  connect(client, &EngineClient::logLine, this, [this](const LogEvent& e) {
    add(QStringLiteral("%1%2: %3").arg(QString::fromStdString(e.level), e.job.empty() ? QString() : u' ' + QString::fromStdString(e.job), QString::fromStdString(e.message)));
  });
  connect(client, &EngineClient::jobStateChanged, this, [this](const JobStateEvent& e) {
    QString text = QStringLiteral("%1 %2 %3").arg(QString::fromStdString(e.job), QString::fromStdString(e.kind), QString::fromStdString(e.state));
    if (!e.reason.empty()) text += QStringLiteral(": ") + QString::fromStdString(e.reason);
    if (e.error) text += QStringLiteral(": ") + QString::fromStdString(e.error->message);
    add(text);
  });
  connect(client, &EngineClient::runCommitted, this, [this](const RunCommittedEvent& e) {
    add(tr("%1 committed, revision %2, %3 bytes").arg(QString::fromStdString(e.run)).arg(e.revision).arg(e.bytes));
  });
  connect(client, &EngineClient::thinned, this, [this](const ThinnedEvent& e) {
    add(e.every > 1 ? tr("%1: every %2nd row is shown from step %3 on; the file stays complete").arg(QString::fromStdString(e.stream)).arg(e.every).arg(e.from_step)
                    : tr("%1: all rows again").arg(QString::fromStdString(e.stream)));
  });
  connect(client, &EngineClient::connectionChanged, this, [this](EngineState state) { add(tr("engine %1").arg(engineStateText(state))); });
  connect(client, &EngineClient::failed, this, [this](const Failure& f) { add(QStringLiteral("%1: %2").arg(f.stage, f.message)); });
  connect(client, &EngineClient::engineOutput, this, [this](const QString& text) { m_output->appendPlainText(QString(text).remove(u'\r').trimmed()); });
}

void LogDock::add(const QString& line) {
  m_events->appendPlainText(QTime::currentTime().toString(QStringLiteral("HH:mm:ss  ")) + line);
}

}  // namespace flashmorph
