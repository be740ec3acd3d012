// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/client/engine_client.h"

#include <exception>

#include <QCoreApplication>

#include "widgets/client/engine_command.h"
#include "widgets/client/engine_process.h"

namespace flashmorph {

namespace {

using nlohmann::json;

QString text(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? QString::fromStdString(it->get<std::string>()) : QString();
}
qint64 integer(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<qint64>() : 0;
}
QStringList words(const json& object, const char* key) {
  QStringList list;
  const auto it = object.find(key);
  if (it != object.end() && it->is_array())
    for (const json& item : *it)
      if (item.is_string()) list << QString::fromStdString(item.get<std::string>());
  return list;
}

Failure failureOf(const Error& error) {
  return {QString::fromStdString(error.stage()), QString::fromStdString(error.message()),
          QString::fromStdString(error.hint()), static_cast<int>(error.code()), {}, {}};
}

constexpr int kKeptLines = 400;
constexpr int kMostBadLines = 5;

}  // namespace

QString engineStateText(EngineState state) {
  switch (state) {
    case EngineState::absent: return QStringLiteral("no engine");
    case EngineState::starting: return QStringLiteral("starting");
    case EngineState::ready: return QStringLiteral("ready");
    case EngineState::notResponding: return QStringLiteral("not responding");
    case EngineState::stopping: return QStringLiteral("stopping");
    case EngineState::lost: return QStringLiteral("lost");
    case EngineState::missing: return QStringLiteral("not found");
  }
  return {};
}

EngineClient::EngineClient(QObject* parent) : QObject(parent) {
  m_silence.setInterval(10'000);
  m_silence.setSingleShot(true);
  connect(&m_silence, &QTimer::timeout, this, [this] {
    if (m_state != EngineState::ready && m_state != EngineState::starting) return;
    setState(EngineState::notResponding);
  });
  m_lastSign.start();
}

EngineClient::~EngineClient() {
  if (m_transport) m_transport->disconnect(this);
}

void EngineClient::setSilenceLimit(int ms) { m_silence.setInterval(ms); }

double EngineClient::silence_s() const { return static_cast<double>(m_lastSign.elapsed()) / 1000; }

QString EngineClient::outputTail(int lines) const { return m_output.mid(qMax<qsizetype>(0, m_output.size() - lines)).join(u'\n'); }

void EngineClient::setState(EngineState state) {
  if (m_state == state) return;
  m_state = state;
  emit connectionChanged(state);
}

void EngineClient::connectTo(std::unique_ptr<Transport> transport) {
  if (m_transport) {
    m_transport->disconnect(this);
    m_transport->finish();
    // It leaves in its own time, without a word to us.
    Transport* old = m_transport.release();
    connect(old, &Transport::ended, old, &QObject::deleteLater);
    QTimer::singleShot(20'000, old, &QObject::deleteLater);
    failPending({QStringLiteral("engine"), tr("the engine was replaced by another"), {}, 0, {}, {}});
  }
  m_output.clear();
  m_badLines = 0;
  m_info = {};
  m_lastJob.clear();
  m_transport = std::move(transport);
  m_where = m_transport->where();
  Transport* t = m_transport.get();
  connect(t, &Transport::started, this, &EngineClient::sendHello);
  connect(t, &Transport::lineArrived, this, &EngineClient::readLine);
  connect(t, &Transport::lineTooLong, this, [this](qint64 bytes) {
    alive();
    fail({QStringLiteral("protocol"), tr("a line of %1 bytes from the engine was dropped: 1 MiB is the limit").arg(bytes),
          tr("engine and workbench may be of different versions"), 1001, outputTail(), {}});
  });
  connect(t, &Transport::textArrived, this, &EngineClient::keepOutput);
  connect(t, &Transport::ended, this, &EngineClient::transportEnded);
  setState(EngineState::starting);
  m_lastSign.restart();
  m_silence.start();
  t->start();
}

void EngineClient::startEngine(const QString& setting) {
  const EngineCommand command = findEngine(setting);
  if (!command.isFound()) {
    m_where.clear();
    setState(EngineState::missing);
    fail({QStringLiteral("engine"), tr("no engine program was found"),
          tr("choose one with Tools, Engine command; files can be viewed without"), 0,
          tr("Looked at:\n") + command.looked.join(u'\n'), {}});
    return;
  }
  connectTo(std::make_unique<EngineProcess>(command));
}

void EngineClient::stopEngine() {
  if (!m_transport) return;
  setState(EngineState::stopping);
  m_silence.stop();
  m_transport->finish();
}

void EngineClient::forceStop() {
  if (!m_transport) return;
  setState(EngineState::stopping);
  m_silence.stop();
  m_transport->kill();
}

void EngineClient::sendHello() {
  const QString name = QStringLiteral("flashmorph-workbench ") + QCoreApplication::applicationVersion();
  call(QStringLiteral("hello"), {{"protocol", {kProtocolMajor, kProtocolMinor}}, {"client", name.trimmed().toStdString()}},
       this, [this](const Reply& reply) { readHello(reply); });
}

void EngineClient::readHello(const Reply& reply) {
  if (!reply.ok) {
    if (m_state == EngineState::starting || m_state == EngineState::notResponding) {
      setState(EngineState::lost);
      fail(reply.failure);
    }
    return;
  }
  const json& r = reply.result;
  m_info.engine = text(r, "engine");
  if (const auto it = r.find("protocol"); it != r.end() && it->is_array() && it->size() == 2 &&
                                          (*it)[0].is_number_integer() && (*it)[1].is_number_integer()) {
    m_info.major = (*it)[0].get<int>();
    m_info.minor = (*it)[1].get<int>();
  }
  if (m_info.major != kProtocolMajor) {
    fail({QStringLiteral("protocol"),
          tr("the engine speaks protocol %1.%2, this window %3.%4").arg(m_info.major).arg(m_info.minor).arg(kProtocolMajor).arg(kProtocolMinor),
          tr("install engine and workbench of the same release"), 1001, {}, {}});
    stopEngine();
    return;
  }
  m_info.features = words(r, "features");
  m_info.stages = words(r, "stages");
  m_info.noCuda = text(r, "no_cuda");
  m_info.runs = text(r, "runs");
  m_info.pid = integer(r, "pid");
  if (const auto it = r.find("devices"); it != r.end() && it->is_array())
    for (const json& device : *it)
      if (device.is_object()) m_info.devices << EngineInfo::Device{text(device, "id"), text(device, "name"), integer(device, "total_bytes")};
  setState(EngineState::ready);
  emit helloDone(m_info);
}

qint64 EngineClient::call(const QString& method, const json& params, ReplyCallback callback) {
  return call(method, params, this, std::move(callback));
}

qint64 EngineClient::call(const QString& method, const json& params, QObject* context, ReplyCallback callback) {
  const auto refuse = [&](const Failure& failure) -> qint64 {
    if (callback)
      QTimer::singleShot(0, context ? context : this, [callback, failure] { callback({false, {}, failure}); });
    return 0;
  };
  const bool hello = method == u"hello";
  if (!m_transport || !(isReady() || (hello && m_state == EngineState::starting)))
    return refuse({QStringLiteral("engine"), tr("there is no engine to answer %1").arg(method),
                   tr("start it with Tools, Start engine"), 0, {}, {}});
  const qint64 id = m_nextId++;
  try {
    const std::string line = Message::request(id, method.toStdString(), params).to_line();
    m_pending.insert(id, {method, context, context != nullptr, std::move(callback)});
    m_transport->send(QByteArray::fromStdString(line));
    return id;
  } catch (const Error& error) {
    return refuse(failureOf(error));
  } catch (const std::exception& error) {
    return refuse({QStringLiteral("protocol"), QString::fromUtf8(error.what()), {}, 0, {}, {}});
  }
}

void EngineClient::start(const QString& stage, const RunConfig& config, QObject* context, ReplyCallback callback,
                         const json& extra) {
  json params = json::object();
  try {
    RunConfig named = config;
    named.command = stage.toStdString();
    params = changed_json(named);
    params.erase("command");
  } catch (const std::exception& error) {
    const Failure failure{stage, QString::fromUtf8(error.what()), {}, 0, {}, {}};
    if (callback) QTimer::singleShot(0, context ? context : this, [callback, failure] { callback({false, {}, failure}); });
    return;
  }
  for (const auto& [key, value] : extra.items()) params[key] = value;
  call(stage + QStringLiteral(".start"), params, context, [this, stage, callback](const Reply& reply) {
    if (reply.ok) emit jobStarted(text(reply.result, "job"), stage, reply.result);
    if (callback) callback(reply);
  });
}

void EngineClient::startAlign(const RunConfig& config, QObject* context, ReplyCallback callback) {
  start(QStringLiteral("align"), config, context, std::move(callback));
}
void EngineClient::startGates(const RunConfig& config, QObject* context, ReplyCallback callback) {
  start(QStringLiteral("gates"), config, context, std::move(callback));
}
void EngineClient::startSelect(const RunConfig& config, QObject* context, ReplyCallback callback) {
  start(QStringLiteral("select"), config, context, std::move(callback));
}
void EngineClient::startEval(const RunConfig& config, QObject* context, ReplyCallback callback, const json& extra) {
  start(QStringLiteral("eval"), config, context, std::move(callback), extra);
}

void EngineClient::cancelJob(const QString& job, const QString& mode) {
  call(QStringLiteral("job.cancel"), {{"job", job.toStdString()}, {"mode", mode.toStdString()}}, this, [this](const Reply& reply) {
    if (!reply.ok) fail(reply.failure);
  });
}
void EngineClient::pauseJob(const QString& job) {
  call(QStringLiteral("job.pause"), {{"job", job.toStdString()}}, this, [this](const Reply& reply) {
    if (!reply.ok) fail(reply.failure);
  });
}
void EngineClient::resumeJob(const QString& job) {
  call(QStringLiteral("job.resume"), {{"job", job.toStdString()}}, this, [this](const Reply& reply) {
    if (!reply.ok) fail(reply.failure);
  });
}

void EngineClient::alive() {
  m_lastSign.restart();
  if (m_state == EngineState::notResponding) setState(m_info.major ? EngineState::ready : EngineState::starting);
  // A recording may be silent as long as it likes.
  if (m_transport && m_transport->isLive() && m_state != EngineState::stopping) m_silence.start();
}

void EngineClient::readLine(const QByteArray& line) {
  alive();
  if (line.trimmed().isEmpty()) return;
  try {
    readMessage(Message::parse(std::string_view(line.constData(), static_cast<size_t>(line.size()))));
  } catch (const std::exception& error) {
    // A few are told, a flood of them is only counted.
    if (++m_badLines > kMostBadLines) return;
    Failure failure{QStringLiteral("protocol"), tr("a line from the engine could not be read: %1").arg(QString::fromUtf8(error.what())),
                    tr("the rest of the stream is still read"), static_cast<int>(ErrorCode::parse_error),
                    QString::fromUtf8(line.left(500)), {}};
    fail(failure);
  }
}

void EngineClient::readMessage(const Message& message) {
  switch (message.kind) {
    case MessageKind::request:
      return;  // requests come from the window alone
    case MessageKind::result:
      return answer(*message.id, {true, message.body, {}});
    case MessageKind::error: {
      Failure failure = failureOf(message.to_error());
      if (!message.id) return fail(failure);
      return answer(*message.id, {false, {}, failure});
    }
    case MessageKind::notification:
      break;
  }
  const auto event = event_of(message.method, message.body);
  if (event) return readEvent(*event);
  // A newer minor may say more than we know; ours may not.
  if (m_info.major == kProtocolMajor && m_info.minor <= kProtocolMinor && ++m_badLines <= kMostBadLines)
    fail({QStringLiteral("protocol"), tr("unknown notification %1").arg(QString::fromStdString(message.method)), {}, 1001, {}, {}});
}

void EngineClient::readEvent(const Event& event) {
  struct Visitor {
    EngineClient* c;
    void operator()(const AlignStepsEvent& e) const { c->note(e.job, e.step); emit c->alignSteps(e); }
    void operator()(const GateStepsEvent& e) const { c->note(e.job, e.step); emit c->gateSteps(e); }
    void operator()(const TrainStepsEvent& e) const { c->note(e.job, e.step); emit c->trainSteps(e); }
    void operator()(const EvalCellsEvent& e) const { emit c->evalCells(e); }
    void operator()(const EvalSummaryEvent& e) const { emit c->evalSummary(e); }
    void operator()(const JobStateEvent& e) const {
      if (e.state == "running" && c->m_lastJob.toStdString() != e.job) {
        c->m_lastJob = QString::fromStdString(e.job);
        c->m_lastStep = 0;
      }
      if (e.state != "running" && e.state != "cancelling" && c->m_lastJob.toStdString() == e.job) c->m_lastJob.clear();
      emit c->jobStateChanged(e);
    }
    void operator()(const JobProgressEvent& e) const { emit c->progressChanged(e); }
    void operator()(const HeartbeatEvent& e) const {
      if (e.step > 0) c->m_lastStep = e.step;
      emit c->heartbeat(e);
    }
    void operator()(const ThinnedEvent& e) const { emit c->thinned(e); }
    void operator()(const RunCommittedEvent& e) const { emit c->runCommitted(e); }
    void operator()(const LogEvent& e) const { emit c->logLine(e); }
    void operator()(const ModelStateEvent& e) const { emit c->modelStateChanged(e); }
  };
  std::visit(Visitor{this}, event);
}

void EngineClient::note(const std::string& job, const std::vector<int64_t>& steps) {
  m_lastJob = QString::fromStdString(job);
  if (!steps.empty()) m_lastStep = steps.back();
}

void EngineClient::answer(qint64 id, const Reply& reply) {
  const auto it = m_pending.find(id);
  if (it == m_pending.end()) {
    if (++m_badLines <= kMostBadLines)
      fail({QStringLiteral("protocol"), tr("the engine answered %1, which was not asked").arg(id), {}, 1001, {}, {}});
    return;
  }
  const Pending pending = *it;
  m_pending.erase(it);
  if (pending.callback && (!pending.hasContext || pending.context)) pending.callback(reply);
}

void EngineClient::failPending(const Failure& failure) {
  const QHash<qint64, Pending> all = std::exchange(m_pending, {});
  for (const Pending& pending : all)
    if (pending.callback && (!pending.hasContext || pending.context)) pending.callback({false, {}, failure});
}

void EngineClient::fail(const Failure& failure) { emit failed(failure); }

void EngineClient::keepOutput(const QString& output) {
  alive();
  for (const QString& line : output.split(u'\n', Qt::SkipEmptyParts)) m_output << line.left(4000);
  if (m_output.size() > kKeptLines) m_output = m_output.mid(m_output.size() - kKeptLines);
  emit engineOutput(output);
}

void EngineClient::transportEnded(const TransportEnd& end) {
  m_silence.stop();
  const bool asked = m_state == EngineState::stopping;
  const QString host = m_transport ? m_transport->host() : QString();
  Failure failure{QStringLiteral("engine"), {}, {}, 0, outputTail(), m_lastJob};
  const QString at = m_lastJob.isEmpty() ? QString() : tr(" in job %1 at step %2").arg(m_lastJob).arg(m_lastStep);
  if (!end.started) {
    failure.message = tr("the engine could not be started: %1").arg(end.reason);
    failure.hint = tr("check Tools, Engine command");
    failure.details = m_where + u'\n' + failure.details;
  } else if (end.crashed) {
    failure.message = tr("the engine crashed (signal)%1").arg(at);
    failure.hint = tr("restart it; a job can go on at its last checkpoint");
  } else if (!host.isEmpty() && end.exitCode == 255) {
    failure.message = tr("the line to %1 dropped%2").arg(host, at);
    failure.hint = tr("the engine saves and stops there; reconnect to go on");
  } else {
    failure.message = tr("the engine left with exit code %1%2").arg(end.exitCode).arg(at);
    failure.hint = end.exitCode == 2 ? tr("it did not accept its command line; see Details") : tr("restart it; see Details for its last words");
  }
  m_transport->disconnect(this);
  m_transport.release()->deleteLater();
  setState(asked ? EngineState::absent : end.started ? EngineState::lost : EngineState::missing);
  failPending(failure);
  if (!asked) fail(failure);
}

}  // namespace flashmorph
