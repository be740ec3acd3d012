// SPDX-License-Identifier: GPL-3.0-or-later
// The window's end of the engine: requests with callbacks, notifications as signals. No exception
// leaves it; every kind of trouble becomes failed().
#pragma once

#include <functional>
#include <memory>

#include <QElapsedTimer>
#include <QHash>
#include <QObject>
#include <QPointer>
#include <QStringList>
#include <QTimer>

#include <nlohmann/json.hpp>

#include "core/run/event.h"
#include "core/run/message.h"
#include "core/run/run_config.h"
#include "widgets/client/failure.h"
#include "widgets/client/transport.h"

namespace flashmorph {

enum class EngineState {
  absent,         ///< none started, or it left when told to
  starting,       ///< started, hello not answered yet
  ready,          ///< answers
  notResponding,  ///< silent for 10 s; nothing is killed unasked
  stopping,       ///< told to leave
  lost,           ///< crashed, or the line dropped
  missing,        ///< no engine found, or it could not be started
};

/// "ready", "not responding", ...
QString engineStateText(EngineState state);

/// Answer of one call.
struct Reply {
  bool ok = false;
  nlohmann::json result;  ///< of an ok reply
  Failure failure;        ///< otherwise
};
using ReplyCallback = std::function<void(const Reply&)>;

/// What hello told.
struct EngineInfo {
  QString engine;                 ///< version
  int major = 0, minor = 0;       ///< protocol
  QStringList features, stages;   ///< "pause", "cuda"; stages that can be started
  struct Device {
    QString id, name;
    qint64 totalBytes = 0;
  };
  QList<Device> devices;
  QString noCuda;  ///< why there is no GPU, empty: all there
  QString runs;    ///< folder of runs on the engine's machine
  qint64 pid = 0;

  bool has(const QString& feature) const { return features.contains(feature); }
  bool canStart(const QString& stage) const { return stages.contains(stage); }
};

class EngineClient : public QObject {
  Q_OBJECT
 public:
  explicit EngineClient(QObject* parent = nullptr);
  ~EngineClient() override;

  /// Starts with this transport (owned from here on) and says hello. An engine that runs already is
  /// told to leave first.
  void connectTo(std::unique_ptr<Transport> transport);
  /// Finds and starts the engine (engine_command.h); state `missing` and failed() if there is none.
  /// setting: the command of the settings, may be empty.
  void startEngine(const QString& setting = {});
  /// Closes its input: it saves and leaves.
  void stopEngine();
  /// Ends the process at once.
  void forceStop();

  EngineState state() const { return m_state; }
  bool isReady() const { return m_state == EngineState::ready || m_state == EngineState::notResponding; }
  bool isReplay() const { return m_transport && !m_transport->isLive(); }
  const EngineInfo& info() const { return m_info; }
  QString host() const { return m_transport ? m_transport->host() : QString(); }
  QString where() const { return m_transport ? m_transport->where() : m_where; }
  /// Last lines the engine printed, at most `lines`.
  QString outputTail(int lines = 50) const;
  /// Seconds since the last sign of life.
  double silence_s() const;

  /// Sends a request; the callback gets exactly one reply: the engine's, or a failure when it is
  /// gone. context: the callback is dropped when this object dies. Returns the id, 0 if there is no
  /// engine (the callback has then been queued with the failure).
  qint64 call(const QString& method, const nlohmann::json& params, QObject* context, ReplyCallback callback);
  /// The same with the client as context.
  qint64 call(const QString& method, const nlohmann::json& params = nlohmann::json::object(),
              ReplyCallback callback = {});

  /// x.start with the options of config that its command takes; extra: more parameters, as
  /// {"slot": "budget"}. The reply has job, run, name, command, estimate_s.
  void start(const QString& stage, const RunConfig& config, QObject* context, ReplyCallback callback,
             const nlohmann::json& extra = nlohmann::json::object());
  void startAlign(const RunConfig& config, QObject* context, ReplyCallback callback);
  void startGates(const RunConfig& config, QObject* context, ReplyCallback callback);
  void startSelect(const RunConfig& config, QObject* context, ReplyCallback callback);
  void startEval(const RunConfig& config, QObject* context, ReplyCallback callback,
                 const nlohmann::json& extra = nlohmann::json::object());
  void cancelJob(const QString& job, const QString& mode = QStringLiteral("now"));
  void pauseJob(const QString& job);
  void resumeJob(const QString& job);

  /// How long silence lasts before `notResponding`; 10 s, shorter in tests.
  void setSilenceLimit(int ms);

 signals:
  void connectionChanged(EngineState state);
  void helloDone(const EngineInfo& info);
  void failed(const Failure& failure);
  void alignSteps(const AlignStepsEvent& event);
  void gateSteps(const GateStepsEvent& event);
  void trainSteps(const TrainStepsEvent& event);
  void evalCells(const EvalCellsEvent& event);
  void evalSummary(const EvalSummaryEvent& event);
  void jobStateChanged(const JobStateEvent& event);
  void progressChanged(const JobProgressEvent& event);
  void heartbeat(const HeartbeatEvent& event);
  void thinned(const ThinnedEvent& event);
  void runCommitted(const RunCommittedEvent& event);
  void modelStateChanged(const ModelStateEvent& event);
  void logLine(const LogEvent& event);
  void engineOutput(const QString& text);  ///< what it printed beside the protocol
  void jobStarted(const QString& job, const QString& stage, const nlohmann::json& answer);

 private:
  struct Pending {
    QString method;
    QPointer<QObject> context;
    bool hasContext = false;
    ReplyCallback callback;
  };

  void setState(EngineState state);
  void sendHello();
  void readLine(const QByteArray& line);
  void readMessage(const Message& message);
  void readEvent(const Event& event);
  void readHello(const Reply& reply);
  void transportEnded(const TransportEnd& end);
  void answer(qint64 id, const Reply& reply);
  void failPending(const Failure& failure);
  void fail(const Failure& failure);
  void alive();
  void keepOutput(const QString& text);
  void note(const std::string& job, const std::vector<int64_t>& steps);

  std::unique_ptr<Transport> m_transport;
  EngineState m_state = EngineState::absent;
  EngineInfo m_info;
  QString m_where;
  QHash<qint64, Pending> m_pending;
  qint64 m_nextId = 1;
  QTimer m_silence;
  QElapsedTimer m_lastSign;
  QStringList m_output;
  int m_badLines = 0;
  qint64 m_lastStep = 0;  ///< of the running job, for the words of a crash
  QString m_lastJob;
};

}  // namespace flashmorph
