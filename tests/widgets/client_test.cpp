// SPDX-License-Identifier: GPL-3.0-or-later
// EngineClient against fake and real processes: good, broken lines, crash, silence, oversized, missing.
#include <QSignalSpy>
#include <QTemporaryDir>
#include <QTest>

#include "fake_transport.h"
#include "widgets/client/engine_client.h"
#include "widgets/client/engine_command.h"
#include "widgets/client/engine_process.h"
#include "widgets/client/line_splitter.h"
#include "widgets/client/replay.h"

using namespace flashmorph;
using nlohmann::json;

class ClientTest : public QObject {
  Q_OBJECT

  FakeTransport* connected(EngineClient& client) {
    auto transport = std::make_unique<FakeTransport>();
    FakeTransport* fake = transport.get();
    QSignalSpy hello(&client, &EngineClient::helloDone);
    client.connectTo(std::move(transport));
    if (hello.isEmpty()) hello.wait(5000);
    return fake;
  }
  static QString script(const QTemporaryDir& dir, const QByteArray& body) {
    QFile file(dir.filePath(QStringLiteral("engine")));
    if (!file.open(QIODevice::WriteOnly)) return {};
    file.write("#!/bin/sh\n" + body);
    file.close();
    file.setPermissions(QFile::ReadOwner | QFile::WriteOwner | QFile::ExeOwner);
    return file.fileName();
  }
  static constexpr const char* kHello = "read line\necho '{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"protocol\":[1,0],\"engine\":\"9\",\"features\":[],\"stages\":[]}}'\n";

 private slots:
  void helloTellsWhatTheEngineCan() {
    EngineClient client;
    connected(client);
    QCOMPARE(client.state(), EngineState::ready);
    QVERIFY(client.info().has(QStringLiteral("pause")));
    QVERIFY(client.info().canStart(QStringLiteral("gates")));
    QVERIFY(!client.info().canStart(QStringLiteral("distill")));
  }

  void callsGetExactlyOneReply() {
    EngineClient client;
    FakeTransport* fake = connected(client);
    fake->answers["plan.list"] = [](const json& params) { return json{{"echo", params}}; };
    int replies = 0;
    json got;
    client.call(QStringLiteral("plan.list"), {{"run", "r1"}}, this, [&](const Reply& r) {
      ++replies;
      QVERIFY(r.ok);
      got = r.result;
    });
    QTRY_COMPARE(replies, 1);
    QCOMPARE(got["echo"]["run"].get<std::string>(), std::string("r1"));
    Failure failure;
    client.call(QStringLiteral("no.such"), json::object(), this, [&](const Reply& r) { failure = r.failure; });
    QTRY_COMPARE(failure.code, -32601);
  }

  void replyOfADeadContextIsDropped() {
    EngineClient client;
    FakeTransport* fake = connected(client);
    fake->answers["engine.status"] = [](const json&) { return json::object(); };
    bool called = false;
    {
      QObject context;
      client.call(QStringLiteral("engine.status"), json::object(), &context, [&](const Reply&) { called = true; });
    }
    bool second = false;
    client.call(QStringLiteral("engine.status"), json::object(), this, [&](const Reply&) { second = true; });
    QTRY_VERIFY(second);
    QVERIFY(!called);
  }

  void withoutEngineTheCallFails() {
    EngineClient client;
    Failure failure;
    QCOMPARE(client.call(QStringLiteral("run.list"), json::object(), this, [&](const Reply& r) { failure = r.failure; }), 0);
    QTRY_VERIFY(!failure.isEmpty());
  }

  void startSendsOnlyWhatDiffers() {
    EngineClient client;
    FakeTransport* fake = connected(client);
    fake->answers["gates.start"] = [](const json&) { return json{{"job", "j1"}, {"run", "r1"}, {"name", "gates"}, {"path", "/runs/gates"}, {"command", "flashmorph gates"}}; };
    RunConfig config = default_config("gates");
    config.model = "/m";
    config.steps = 77;
    QSignalSpy started(&client, &EngineClient::jobStarted);
    client.startGates(config, this, {});
    QTRY_COMPARE(started.size(), 1);
    QCOMPARE(started[0][0].toString(), QStringLiteral("j1"));
    const json& params = fake->requests.back()["params"];
    QCOMPARE(params["steps"].get<int>(), 77);
    QCOMPARE(params["model"].get<std::string>(), std::string("/m"));
    QVERIFY(!params.contains("lr_final"));
    QVERIFY(!params.contains("command"));
  }

  void notificationsBecomeSignals() {
    EngineClient client;
    FakeTransport* fake = connected(client);
    int rows = 0, states = 0;
    connect(&client, &EngineClient::gateSteps, this, [&](const GateStepsEvent& e) { rows += static_cast<int>(e.step.size()); });
    connect(&client, &EngineClient::jobStateChanged, this, [&](const JobStateEvent& e) { states += e.state == "failed" && e.error->code == 1008 ? 1 : 0; });
    fake->say("gates.steps", {{"job", "j1"}, {"step", {1, 2}}, {"alpha", {{1, 0.9}, {1, 0.8}}}, {"raw", {{1, 0.9}, {1, 0.8}}}, {"loss", {5, nullptr}}, {"penalty", {0.1, 0.1}}});
    fake->say("job.state", {{"job", "j1"}, {"state", "failed"}, {"kind", "gates"}, {"run", "r1"}, {"error", {{"code", 1008}, {"message", "too big"}, {"data", {{"stage", "gates"}}}}}});
    QCOMPARE(rows, 2);
    QCOMPARE(states, 1);
  }

  void brokenLinesAreToldAFewTimesAndTheRestIsRead() {
    EngineClient client;
    FakeTransport* fake = connected(client);
    QSignalSpy failed(&client, &EngineClient::failed);
    int beats = 0;
    connect(&client, &EngineClient::heartbeat, this, [&] { ++beats; });
    for (int i = 0; i < 100; ++i) emit fake->lineArrived("{\"jsonrpc\": nonsense");
    emit fake->lineArrived("[1,2]");
    emit fake->lineArrived("\xff\xfe");
    fake->say("gates.steps", {{"job", "j1"}, {"step", {1}}, {"alpha", "no list"}});
    fake->say("engine.heartbeat", {{"t_s", 1.0}, {"step", 0}, {"worker_age_s", 0}, {"rss_bytes", 5}});
    QCOMPARE(beats, 1);
    QCOMPARE(failed.size(), 5);
    QCOMPARE(client.state(), EngineState::ready);
  }

  void otherMajorIsRefusedNamingBoth() {
    EngineClient client;
    auto transport = std::make_unique<FakeTransport>();
    transport->answers["hello"] = [](const json&) { return json{{"protocol", {2, 3}}, {"engine", "x"}}; };
    QSignalSpy failed(&client, &EngineClient::failed);
    client.connectTo(std::move(transport));
    QVERIFY(failed.wait(5000));
    const auto failure = failed[0][0].value<Failure>();
    QVERIFY2(failure.message.contains(QStringLiteral("2.3")) && failure.message.contains(QStringLiteral("1.0")), qPrintable(failure.message));
  }

  void silenceIsToldAndNothingIsKilled() {
    EngineClient client;
    client.setSilenceLimit(80);
    FakeTransport* fake = connected(client);
    QTRY_COMPARE(client.state(), EngineState::notResponding);
    QVERIFY(!fake->killed && !fake->finishedInput);
    fake->say("engine.heartbeat", {{"t_s", 1.0}, {"step", 0}, {"worker_age_s", 0}, {"rss_bytes", 5}});
    QCOMPARE(client.state(), EngineState::ready);
  }

  void crashFailsPendingCallsAndNamesJobAndStep() {
    EngineClient client;
    FakeTransport* fake = connected(client);
    fake->say("job.state", {{"job", "j7"}, {"state", "running"}, {"kind", "gates"}, {"run", "r1"}});
    fake->say("gates.steps", {{"job", "j7"}, {"step", {640}}, {"alpha", {{1}}}, {"raw", {{1}}}, {"loss", {5}}, {"penalty", {0.1}}});
    emit fake->textArrived(QStringLiteral("last words\n"));
    fake->silent = true;
    Failure pending;
    client.call(QStringLiteral("job.list"), json::object(), this, [&](const Reply& r) { pending = r.failure; });
    QSignalSpy failed(&client, &EngineClient::failed);
    fake->crash();
    QCOMPARE(client.state(), EngineState::lost);
    QVERIFY(!pending.isEmpty());
    const auto failure = failed[0][0].value<Failure>();
    QVERIFY2(failure.message.contains(QStringLiteral("j7")) && failure.message.contains(QStringLiteral("640")), qPrintable(failure.message));
    QVERIFY(failure.details.contains(QStringLiteral("last words")));
  }

  void lineSplitterDropsLongLinesAndGoesOn() {
    LineSplitter splitter(10);
    QByteArray line;
    splitter.add("short\n0123456789");
    QCOMPARE(splitter.next(&line), LineSplitter::Next::line);
    QCOMPARE(line, QByteArray("short"));
    QCOMPARE(splitter.next(&line), LineSplitter::Next::none);
    splitter.add("abcdefgh");
    QCOMPARE(splitter.next(&line), LineSplitter::Next::none);
    splitter.add("ij\nnext\n");
    QCOMPARE(splitter.next(&line), LineSplitter::Next::tooLong);
    QCOMPARE(splitter.droppedBytes(), 20);
    QCOMPARE(splitter.next(&line), LineSplitter::Next::line);
    QCOMPARE(line, QByteArray("next"));
  }

  void processThatCrashes() {
    QTemporaryDir dir;
    EngineClient client;
    QSignalSpy failed(&client, &EngineClient::failed);
    client.startEngine(script(dir, QByteArray(kHello) + "echo boom >&2\nkill -SEGV $$\n"));
    QTRY_COMPARE_WITH_TIMEOUT(client.state(), EngineState::lost, 10'000);
    QVERIFY(!failed.isEmpty());
    const auto failure = failed.last()[0].value<Failure>();
    QVERIFY2(failure.message.contains(QStringLiteral("crashed")), qPrintable(failure.message));
    QVERIFY(failure.details.contains(QStringLiteral("boom")));
  }

  void processWithExitCode() {
    QTemporaryDir dir;
    EngineClient client;
    QSignalSpy failed(&client, &EngineClient::failed);
    client.startEngine(script(dir, "echo 'unknown command serve' >&2\nexit 2\n"));
    QTRY_COMPARE_WITH_TIMEOUT(client.state(), EngineState::lost, 10'000);
    const auto failure = failed.last()[0].value<Failure>();
    QVERIFY2(failure.message.contains(QStringLiteral("exit code 2")), qPrintable(failure.message));
  }

  void processWithAnOversizedLine() {
    QTemporaryDir dir;
    EngineClient client;
    QSignalSpy failed(&client, &EngineClient::failed);
    int beats = 0;
    connect(&client, &EngineClient::heartbeat, this, [&] { ++beats; });
    client.startEngine(script(dir, QByteArray(kHello) +
                                       "head -c 3000000 /dev/zero | tr '\\0' x\necho\n"
                                       "echo '{\"jsonrpc\":\"2.0\",\"method\":\"engine.heartbeat\",\"params\":{\"seq\":1,\"t_s\":1,\"step\":0,\"worker_age_s\":0,\"rss_bytes\":1}}'\nread line\n"));
    QTRY_COMPARE_WITH_TIMEOUT(beats, 1, 10'000);
    QCOMPARE(failed.size(), 1);
    QVERIFY(failed[0][0].value<Failure>().message.contains(QStringLiteral("3000000")));
    QCOMPARE(client.state(), EngineState::ready);
    client.stopEngine();
    QTRY_COMPARE_WITH_TIMEOUT(client.state(), EngineState::absent, 10'000);
  }

  void missingEngineSaysWhereItLooked() {
    EngineClient client;
    QSignalSpy failed(&client, &EngineClient::failed);
    client.startEngine(QStringLiteral("/no/such/engine"));
    QCOMPARE(client.state(), EngineState::missing);
    QVERIFY(failed[0][0].value<Failure>().details.contains(QStringLiteral("/no/such/engine")));
  }

  void commandIsFoundInOrder() {
    QTemporaryDir dir;
    const QString program = script(dir, "exit 0\n");
    QProcessEnvironment environment;
    environment.insert(QStringLiteral("PATH"), QStringLiteral("/usr/bin:/bin"));
    QVERIFY(!findEngine({}, environment, dir.path()).isFound());
    environment.insert(QStringLiteral("FLASHMORPH_ENGINE"), program);
    EngineCommand found = findEngine({}, environment, dir.path());
    QCOMPARE(found.program, program);
    QCOMPARE(found.arguments, QStringList{QStringLiteral("serve")});
    QFile::copy(program, dir.filePath(QStringLiteral("flashmorph")));
    environment.remove(QStringLiteral("FLASHMORPH_ENGINE"));
    QCOMPARE(findEngine({}, environment, dir.path()).origin, QStringLiteral("beside the workbench"));
    // A setting that names nothing is not covered up.
    QVERIFY(!findEngine(QStringLiteral("/no/engine"), environment, dir.path()).isFound());
    // A folder with a space is a program, not a command line.
    QDir(dir.path()).mkdir(QStringLiteral("a b"));
    QFile::copy(program, dir.filePath(QStringLiteral("a b/engine")));
    QVERIFY(findEngine(dir.filePath(QStringLiteral("a b/engine")), environment, dir.path()).isFound());
  }

  void replayPlaysAndAnswers() {
    QTemporaryDir dir;
    QFile file(dir.filePath(QStringLiteral("r.jsonl")));
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write("{\"t_s\":0,\"dir\":\">\",\"message\":{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"run.open\",\"params\":{\"run\":\"r1\"}}}\n"
               "{\"t_s\":0.1,\"dir\":\"<\",\"message\":{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"uuid\":\"u\"}}}\n"
               "not json\n"
               "{\"t_s\":5,\"jsonrpc\":\"2.0\",\"method\":\"engine.heartbeat\",\"params\":{\"seq\":1,\"t_s\":1,\"step\":3,\"worker_age_s\":0,\"rss_bytes\":1}}\n"
               "{\"t_s\":6,\"jsonrpc\":\"2.0\",\"method\":\"engine.log\",\"params\":{\"seq\":2,\"level\":\"info\",\"message\":\"hi\"}}\n");
    file.close();
    auto transport = std::make_unique<ReplayTransport>(file.fileName(), 0);
    ReplayTransport* replay = transport.get();
    EngineClient client;
    QSignalSpy finished(replay, &ReplayTransport::finished);
    int beats = 0;
    connect(&client, &EngineClient::heartbeat, this, [&] { ++beats; });
    client.connectTo(std::move(transport));
    QVERIFY(finished.wait(5000));
    QCOMPARE(beats, 1);
    QCOMPARE(replay->skippedLines(), 1);
    QTRY_COMPARE(client.state(), EngineState::ready);
    QVERIFY(client.isReplay());
    json got;
    client.call(QStringLiteral("run.open"), {{"run", "r1"}}, this, [&](const Reply& r) { got = r.result; });
    QTRY_VERIFY(got.is_object());
    QCOMPARE(got.value("uuid", ""), std::string("u"));
    Failure refused;
    client.call(QStringLiteral("gates.start"), json::object(), this, [&](const Reply& r) { refused = r.failure; });
    QTRY_COMPARE(refused.code, 1003);
  }

  void replayOfNothingFails() {
    EngineClient client;
    QSignalSpy failed(&client, &EngineClient::failed);
    client.connectTo(std::make_unique<ReplayTransport>(QStringLiteral("/no/such.jsonl"), 0));
    QVERIFY(failed.wait(5000));
    QCOMPARE(client.state(), EngineState::missing);
  }
};

QTEST_MAIN(ClientTest)
#include "client_test.moc"
