// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/client/replay.h"

#include <algorithm>
#include <map>

#include <QFile>
#include <QPointer>

#include "core/run/message.h"

namespace flashmorph {

using nlohmann::json;

ReplayTransport::ReplayTransport(const QString& path, double speed, QObject* parent)
    : Transport(parent), m_path(path), m_speed(speed) {
  m_timer.setSingleShot(true);
  connect(&m_timer, &QTimer::timeout, this, &ReplayTransport::playNext);
}

bool ReplayTransport::load(QString* why) {
  QFile file(m_path);
  if (!file.open(QIODevice::ReadOnly)) {
    *why = file.errorString();
    return false;
  }
  std::map<int64_t, size_t> asked;
  double t_s = 0;
  while (!file.atEnd()) {
    const QByteArray line = file.readLine(static_cast<qint64>(kMaxLineBytes) + 4096).trimmed();
    if (line.isEmpty()) continue;
    json object = json::parse(line.constData(), line.constData() + line.size(), nullptr, false);
    if (!object.is_object()) {
      ++m_skipped;
      continue;
    }
    if (const auto it = object.find("t_s"); it != object.end() && it->is_number()) t_s = std::max(t_s, it->get<double>());
    if (const auto it = object.find("message"); it != object.end() && it->is_object()) {
      json inner = *it;
      object = std::move(inner);
    }
    object.erase("t_s");
    object.erase("dir");
    const bool hasId = object.contains("id") && object["id"].is_number_integer();
    const bool hasMethod = object.contains("method") && object["method"].is_string();
    if (hasMethod && hasId) {
      asked[object["id"].get<int64_t>()] = static_cast<size_t>(m_exchanges.size());
      m_exchanges << Exchange{object["method"].get<std::string>(), object.value("params", json::object()), {}, false};
    } else if (hasMethod) {
      m_notifications << Line{t_s, QByteArray::fromStdString(object.dump(-1, ' ', false, json::error_handler_t::replace))};
    } else if (hasId && asked.count(object["id"].get<int64_t>())) {
      json& answer = m_exchanges[static_cast<qsizetype>(asked[object["id"].get<int64_t>()])].answer;
      answer = json::object();
      if (object.contains("result")) answer["result"] = object["result"];
      if (object.contains("error")) answer["error"] = object["error"];
    } else {
      ++m_skipped;
    }
  }
  if (m_notifications.isEmpty()) {
    *why = tr("no notification in it");
    return false;
  }
  // The clock starts at the first notification.
  const double from = m_notifications.first().t_s;
  for (Line& line : m_notifications) line.t_s -= from;
  return true;
}

void ReplayTransport::start() {
  QTimer::singleShot(0, this, [this] {
    QString why;
    if (!load(&why)) {
      m_ended = true;
      emit ended({false, false, 0, tr("%1: %2").arg(m_path, why)});
      return;
    }
    emit started();
  });
}

void ReplayTransport::send(const QByteArray& line) {
  if (m_ended) return;
  const json request = json::parse(line.constData(), line.constData() + line.size(), nullptr, false);
  if (!request.is_object()) return;
  const std::string method = request.value("method", "");
  const json params = request.value("params", json::object());
  Exchange* found = nullptr;
  for (Exchange& exchange : m_exchanges)
    if (exchange.method == method && !exchange.answer.is_null() && (!found || exchange.params == params))
      found = &exchange;
  json reply = {{"jsonrpc", "2.0"}, {"id", request.value("id", int64_t{0})}};
  if (found && (method == "hello" || found->params == params))
    reply.update(found->answer);
  else if (method == "hello")
    reply["result"] = {{"protocol", {kProtocolMajor, kProtocolMinor}}, {"engine", "recording"}, {"features", json::array()},
                       {"stages", json::array()}, {"devices", json::array()}};
  else if (const json summary = method == "run.open" ? runSummary(params.value("run", "")) : json(); summary.is_object())
    reply["result"] = summary;
  else
    reply["error"] = {{"code", 1003}, {"message", "this is a recording: nothing can be started or changed"},
                      {"data", {{"stage", "replay"}, {"hint", "start an engine with Tools, Start engine"}}}};
  const QByteArray text = QByteArray::fromStdString(reply.dump(-1, ' ', false, json::error_handler_t::replace));
  QTimer::singleShot(0, this, [this, text, method] {
    if (m_ended) return;
    emit lineArrived(text);
    // Nothing is told before hello, as with an engine.
    if (method == "hello" && m_next == 0 && !m_ended) m_timer.start(0);
  });
}

// What the recording knows about a run that was never opened by hand: its start told handle and name, a
// list told the rest.
json ReplayTransport::runSummary(const std::string& handle) const {
  std::string name, kind;
  json summary;
  for (const Exchange& exchange : m_exchanges) {
    const auto result = exchange.answer.is_object() ? exchange.answer.find("result") : exchange.answer.end();
    if (result == exchange.answer.end() || !result->is_object()) continue;
    if (exchange.method != "run.list" && result->value("run", "") == handle && result->contains("name")) {
      name = result->value("name", "");
      const size_t end = exchange.method.find(".start");
      if (end != std::string::npos && kind.empty()) kind = exchange.method.substr(0, end);
    }
  }
  for (const Exchange& exchange : m_exchanges)
    if (exchange.method == "run.list" && exchange.answer.is_object() && exchange.answer.contains("result"))
      for (const json& one : exchange.answer["result"].value("runs", json::array()))
        if (one.is_object() && one.contains("uuid") && !name.empty() && one.value("name", "") == name) summary = one;
  if (summary.is_null() && !name.empty())
    summary = {{"name", name}, {"uuid", "recorded-" + handle}, {"kind", kind}, {"state", "running"}, {"weights_run", name}};
  if (summary.is_object()) summary["run"] = handle;
  return summary;
}

void ReplayTransport::finish() {
  if (m_ended) return;
  m_ended = true;
  m_timer.stop();
  QTimer::singleShot(0, this, [this] { emit ended({true, false, 0, {}}); });
}

void ReplayTransport::kill() { finish(); }

void ReplayTransport::setSpeed(double speed) {
  m_speed = speed;
  if (m_timer.isActive()) m_timer.start(0);
}

void ReplayTransport::setPaused(bool paused) {
  m_paused = paused;
  if (paused)
    m_timer.stop();
  else if (!m_ended)
    m_timer.start(0);
}

void ReplayTransport::playNext() {
  if (m_ended || m_paused) return;
  const QPointer<ReplayTransport> self(this);
  // At most 200 lines at a time, so that an unlimited speed does not freeze the window.
  for (int sent = 0; sent < 200 && m_next < m_notifications.size(); ++sent) {
    const double t_s = m_notifications[m_next].t_s;
    emit lineArrived(m_notifications[m_next++].text);
    if (!self || m_ended) return;
    if (m_next < m_notifications.size() && m_speed > 0) {
      const double wait_ms = (m_notifications[m_next].t_s - t_s) / m_speed * 1000;
      if (wait_ms >= 1) {
        emit positionChanged(m_next, size());
        m_timer.start(static_cast<int>(std::min(wait_ms, 60'000.0)));
        return;
      }
    }
  }
  emit positionChanged(m_next, size());
  if (m_next < m_notifications.size())
    m_timer.start(0);
  else
    emit finished();
}

}  // namespace flashmorph
