// SPDX-License-Identifier: GPL-3.0-or-later
// An engine made of a function: a request in, lines out. For tests of everything behind EngineClient.
#pragma once

#include <functional>
#include <map>

#include <QTimer>

#include <nlohmann/json.hpp>

#include "widgets/client/transport.h"

namespace flashmorph {

class FakeTransport : public Transport {
  Q_OBJECT
 public:
  using Answer = std::function<nlohmann::json(const nlohmann::json& params)>;

  FakeTransport() {
    answers["hello"] = [](const nlohmann::json&) {
      return nlohmann::json{{"protocol", {1, 0}}, {"engine", "0.1.0"}, {"features", {"pause", "slots", "preflight"}}, {"stages", {"align", "gates", "select", "eval"}},
                            {"devices", {{{"id", "cpu"}, {"name", "cpu"}, {"total_bytes", 1}}}}, {"runs", "/runs"}, {"pid", 1}};
    };
    answers["run.list"] = [](const nlohmann::json&) { return nlohmann::json{{"folder", "/runs"}, {"total", 0}, {"runs", nlohmann::json::array()}}; };
  }

  /// Results by method; a method without answer gets -32601. An answer with the key "error" is an error.
  std::map<std::string, Answer> answers;
  std::vector<nlohmann::json> requests;
  bool silent = false, killed = false, finishedInput = false;

  void start() override { QTimer::singleShot(0, this, [this] { emit started(); }); }
  void send(const QByteArray& line) override {
    requests.push_back(nlohmann::json::parse(line.toStdString()));
    if (silent) return;
    const nlohmann::json request = requests.back();
    const auto it = answers.find(request["method"].get<std::string>());
    nlohmann::json reply = {{"jsonrpc", "2.0"}, {"id", request["id"]}};
    if (it == answers.end())
      reply["error"] = {{"code", -32601}, {"message", "no such method"}, {"data", {{"stage", "protocol"}}}};
    else if (nlohmann::json answer = it->second(request.value("params", nlohmann::json::object())); answer.is_object() && answer.contains("error"))
      reply["error"] = answer["error"];
    else
      reply["result"] = answer;
    const QByteArray text = QByteArray::fromStdString(reply.dump());
    QTimer::singleShot(0, this, [this, text] { emit lineArrived(text); });
  }
  void finish() override {
    finishedInput = true;
    QTimer::singleShot(0, this, [this] { emit ended({true, false, 0, {}}); });
  }
  void kill() override {
    killed = true;
    emit ended({true, true, 9, QStringLiteral("killed")});
  }
  QString where() const override { return QStringLiteral("fake"); }

  void say(const std::string& method, nlohmann::json params) {
    params["seq"] = ++m_seq;
    emit lineArrived(QByteArray::fromStdString(nlohmann::json{{"jsonrpc", "2.0"}, {"method", method}, {"params", params}}.dump()));
  }
  void crash() { emit ended({true, true, 11, QStringLiteral("crashed")}); }
  int asked(const std::string& method) const {
    int n = 0;
    for (const auto& request : requests) n += request["method"] == method ? 1 : 0;
    return n;
  }

 private:
  int m_seq = 0;
};

}  // namespace flashmorph
