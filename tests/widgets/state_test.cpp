// SPDX-License-Identifier: GPL-3.0-or-later
// What all views share: selection, workspace with undo and restore, runs from files and live events.
#include <QAbstractItemModelTester>
#include <QSignalSpy>
#include <QTemporaryDir>
#include <QTest>

#include "core/run/run_file.h"
#include "core/run/run_folder.h"
#include "fake_transport.h"
#include "tests/run/sample_record.h"
#include "widgets/client/replay.h"
#include "widgets/docks/run_tree_model.h"
#include "widgets/pages/plan_export.h"
#include "widgets/state/run_store.h"
#include "widgets/state/selection.h"
#include "widgets/state/workspace.h"

using namespace flashmorph;
using nlohmann::json;

class StateTest : public QObject {
  Q_OBJECT

  static json summary(const std::string& handle, const std::string& uuid, const std::string& kind = "gates") {
    return {{"run", handle}, {"name", "gates-1"}, {"path", "/nowhere/gates-1"}, {"title", ""}, {"notes", ""}, {"uuid", uuid}, {"parent_uuid", ""},
            {"kind", kind}, {"state", "running"}, {"created_utc", "2026-11-25T03:53:36Z"}, {"revision", 1}, {"layers", 3}, {"method", "gates"},
            {"weights_run", "gates-1"}, {"config", {{"steps", 100}}}};
  }
  static json rows(int first, int n) {
    json step = json::array(), alpha = json::array(), loss = json::array(), penalty = json::array();
    for (int i = 0; i < n; ++i) {
      step.push_back(first + i);
      alpha.push_back({1.0, 0.5, 0.0});
      loss.push_back(2.0);
      penalty.push_back(0.1);
    }
    return {{"job", "j1"}, {"step", step}, {"alpha", alpha}, {"raw", alpha}, {"loss", loss}, {"penalty", penalty}};
  }

 private slots:
  void selectionTellsOnlyChanges() {
    Selection selection;
    QSignalSpy layers(&selection, &Selection::layersChanged);
    selection.select(3);
    selection.select(3);
    selection.toggle(5);
    selection.toggle(3);
    QCOMPARE(layers.size(), 3);
    QCOMPARE(selection.layers(), std::set<int>{5});
    selection.selectCell({1, 2});
    selection.clear();
    QVERIFY(selection.layers().empty() && !selection.cell().isValid());
  }

  void aDragIsOneStep() {
    Workspace workspace;
    workspace.setBudget(QStringLiteral("r"), 7);
    workspace.beginDrag();
    for (int K = 8; K <= 20; ++K) workspace.setBudget(QStringLiteral("r"), K);
    workspace.endDrag();
    workspace.beginDrag();
    for (int K = 19; K >= 15; --K) workspace.setBudget(QStringLiteral("r"), K);
    workspace.endDrag();
    QCOMPARE(workspace.undoStack()->count(), 3);
    workspace.undoStack()->undo();
    QCOMPARE(workspace.budget(QStringLiteral("r")), 20);
    workspace.undoStack()->undo();
    QCOMPARE(workspace.budget(QStringLiteral("r")), 7);
    workspace.undoStack()->undo();
    QCOMPARE(workspace.budget(QStringLiteral("r")), -1);
    workspace.undoStack()->redo();
    workspace.undoStack()->redo();
    QCOMPARE(workspace.budget(QStringLiteral("r")), 20);
  }

  void everythingOfTheUserIsUndone() {
    Workspace w;
    const QJsonObject before = w.toJson();
    w.setLocksAndBudget(QStringLiteral("r"), {Lock::full, Lock::free, Lock::linear}, 2);
    w.setSlot(0, {QStringLiteral("r"), QStringLiteral("3:0"), {}, QStringLiteral("aligned"), {}});
    w.setSlot(1, {QStringLiteral("r"), QStringLiteral("3:1"), {}, QStringLiteral("aligned"), {}});
    w.swapSlots(0, 1);
    QCOMPARE(w.slot(0).plan, QStringLiteral("3:1"));
    w.setName(QStringLiteral("r"), QStringLiteral("seed 1"));
    w.setNotes(QStringLiteral("r"), QStringLiteral("why"));
    w.setPinned(QStringLiteral("r"), true);
    w.setBaseline(QStringLiteral("r"));
    QCOMPARE(w.undoStack()->count(), 8);
    while (w.undoStack()->canUndo()) w.undoStack()->undo();
    QCOMPARE(w.toJson(), before);
    while (w.undoStack()->canRedo()) w.undoStack()->redo();
    QCOMPARE(w.name(QStringLiteral("r")), QStringLiteral("seed 1"));
    QCOMPARE(w.locks(QStringLiteral("r"), 3)[2], Lock::linear);
    QCOMPARE(w.slot(0).plan, QStringLiteral("3:1"));
  }

  void restoredAfterACrash() {
    QTemporaryDir dir;
    const QString file = dir.filePath(QStringLiteral("a/workspace.json"));
    QJsonObject saved;
    {
      Workspace w(file);
      w.setCurrentRun(QStringLiteral("r"));
      w.setBudget(QStringLiteral("r"), 5);
      w.setLocks(QStringLiteral("r"), {Lock::free, Lock::full});
      w.setSlot(2, {QStringLiteral("r"), QStringLiteral("2:1"), QStringLiteral("s"), QStringLiteral("aligned"), QStringLiteral("mine")});
      w.setColor(QStringLiteral("r"), QColor(1, 2, 3));
      w.setView(QStringLiteral("window/page"), QStringLiteral("select"));
      w.addRecentRun(QStringLiteral("/x"));
      // The file comes by itself, half a second after the change: a crash then loses nothing.
      QTRY_VERIFY_WITH_TIMEOUT(QFile::exists(file), 5000);
      saved = w.toJson();
    }
    Workspace w(file);
    QSignalSpy restored(&w, &Workspace::restored);
    QVERIFY(w.load());
    QCOMPARE(restored.size(), 1);
    QCOMPARE(w.toJson(), saved);
    QCOMPARE(w.budget(QStringLiteral("r")), 5);
    QCOMPARE(w.color(QStringLiteral("r")), QColor(1, 2, 3));
  }

  void aBrokenFileIsKeptBeside() {
    QTemporaryDir dir;
    const QString file = dir.filePath(QStringLiteral("workspace.json"));
    QFile out(file);
    QVERIFY(out.open(QIODevice::WriteOnly));
    out.write("{\"budgets\": {");
    out.close();
    Workspace w(file);
    QVERIFY(!w.load());
    QVERIFY(QFile::exists(file + QStringLiteral(".broken")));
    // Wrong types are left out.
    w.fromJson({{"budgets", QJsonObject{{"r", "seven"}, {"q", -4}}}, {"slots", 5}, {"colors", QJsonObject{{"r", "no color"}}}, {"slot", 99}});
    QCOMPARE(w.budget(QStringLiteral("r")), -1);
    QCOMPARE(w.currentSlot(), 3);
  }

  void runsKeepTheirColorsApart() {
    Workspace w;
    QSet<QRgb> colors;
    for (int i = 0; i < 12; ++i) colors << w.color(QString::number(i)).rgb();
    QCOMPARE(colors.size(), 12);
    QCOMPARE(w.color(QStringLiteral("3")), w.color(QStringLiteral("3")));
  }

  void aRunFileIsReadOnTheReader() {
    QTemporaryDir dir;
    RunRecord record = sample_record();
    const RunFolder folder = create_run(dir.path().toStdString(), "gates-1", record);
    write_notes(folder, {"my run", "because"});
    RunStore store(nullptr);
    QSignalSpy added(&store, &RunStore::runAdded);
    store.openPath(QString::fromStdString(folder.run_file().string()));
    QVERIFY(added.wait(5000));
    const Run* run = store.run(QString::fromStdString(record.uuid));
    QVERIFY(run);
    QCOMPARE(run->title, QStringLiteral("my run"));
    QCOMPARE(run->layers(), 6);
    QVERIFY(run->hasScore());
    QCOMPARE(run->score().score.size(), size_t{6});
    QCOMPARE(store.runOfPath(QString::fromStdString(folder.path.string())), run);
  }

  void anUnreadableFileStaysWithItsReason() {
    QTemporaryDir dir;
    QFile file(dir.filePath(QStringLiteral("bad.fmrun")));
    QVERIFY(file.open(QIODevice::WriteOnly));
    file.write("nothing of HDF5");
    file.close();
    RunStore store(nullptr);
    QSignalSpy failed(&store, &RunStore::openFailed);
    store.openPath(file.fileName());
    QVERIFY(failed.wait(5000));
    QCOMPARE(store.uuids().size(), 1);
    QVERIFY(!store.run(store.uuids()[0])->problem.isEmpty());
  }

  void liveRowsWaitForTheirRunAndComeGathered() {
    EngineClient client;
    RunStore store(&client);
    auto transport = std::make_unique<FakeTransport>();
    FakeTransport* fake = transport.get();
    fake->answers["run.open"] = [](const json&) { return summary("r1", "uuid-1"); };
    client.connectTo(std::move(transport));
    QTRY_COMPARE(client.state(), EngineState::ready);
    QSignalSpy appended(&store, &RunStore::gatesAppended);
    fake->say("job.state", {{"job", "j1"}, {"state", "running"}, {"kind", "gates"}, {"run", "r1"}});
    for (int i = 0; i < 50; ++i) fake->say("gates.steps", rows(1 + 2 * i, 2));
    QTRY_VERIFY(store.run(QStringLiteral("uuid-1")) && store.run(QStringLiteral("uuid-1"))->record.rows() == 100);
    QVERIFY2(appended.size() <= 3, qPrintable(QString::number(appended.size())));
    const Run* run = store.run(QStringLiteral("uuid-1"));
    QVERIFY(run->live && run->provisional);
    QCOMPARE(run->totalSteps, 100);
    QCOMPARE(run->score().score[1], 0.5);
    QCOMPARE(store.jobs()->active()->id, QStringLiteral("j1"));
    fake->say("gates.steps", rows(1, 100));  // told again: nothing changes
    store.applyPending();
    QCOMPARE(run->record.rows(), size_t{100});
    fake->say("job.state", {{"job", "j1"}, {"state", "finished"}, {"kind", "gates"}, {"run", "r1"}});
    QVERIFY(!run->live && !run->provisional);
    QVERIFY(store.jobs()->find(QStringLiteral("j1"))->isOver());
  }

  void rowsThatDoNotFitAreToldAndDropped() {
    EngineClient client;
    RunStore store(&client);
    auto transport = std::make_unique<FakeTransport>();
    FakeTransport* fake = transport.get();
    fake->answers["run.open"] = [](const json&) { return summary("r1", "uuid-1"); };
    client.connectTo(std::move(transport));
    QTRY_COMPARE(client.state(), EngineState::ready);
    fake->say("job.state", {{"job", "j1"}, {"state", "running"}, {"kind", "gates"}, {"run", "r1"}});
    fake->say("gates.steps", {{"job", "j1"}, {"step", {1}}, {"alpha", {{1, 2}}}, {"raw", {{1, 2}}}, {"loss", {1}}, {"penalty", {1}}});
    QTRY_VERIFY(store.run(QStringLiteral("uuid-1")) && !store.run(QStringLiteral("uuid-1"))->problem.isEmpty());
    QCOMPARE(store.run(QStringLiteral("uuid-1"))->record.rows(), size_t{0});
  }

  void cellsFetchTheirSetFirst() {
    EngineClient client;
    RunStore store(&client);
    auto transport = std::make_unique<FakeTransport>();
    FakeTransport* fake = transport.get();
    fake->answers["run.open"] = [](const json&) { return summary("r1", "uuid-1"); };
    fake->answers["eval_set.list"] = [](const json&) {
      EvalSet set;
      set.name = "needle-2";
      set.lengths = {128, 256};
      set.depths = {0, 1};
      set.trials = 2;
      json item = set.to_json();
      item["hash"] = set.hash();
      item["evaluations"] = json::array();
      return json{{"run", "r1"}, {"sets", {item}}};
    };
    client.connectTo(std::move(transport));
    QTRY_COMPARE(client.state(), EngineState::ready);
    QSignalSpy cells(&store, &RunStore::cellsChanged);
    fake->say("job.state", {{"job", "j2"}, {"state", "running"}, {"kind", "eval"}, {"run", "r1"}});
    fake->say("eval.cells", {{"job", "j2"}, {"set", "needle-2"}, {"plan", "3:1"}, {"weights", "aligned"}, {"cells", {{1, 0, 1, 1, 1.0, 0.2, {1.0}}}}});
    QTRY_COMPARE(cells.size(), 1);
    const RecallGrid* grid = store.grid(QStringLiteral("uuid-1"), QStringLiteral("needle-2"), LayerPlan::parse("3:1"));
    QVERIFY(grid);
    QCOMPARE(grid->at(1, 0).hits, 1);
    // Never another plan's.
    QVERIFY(!store.grid(QStringLiteral("uuid-1"), QStringLiteral("needle-2"), LayerPlan::parse("3:0")));
    QVERIFY(!store.grid(QStringLiteral("uuid-1"), QStringLiteral("needle-2"), LayerPlan::parse("3:1"), QStringLiteral("step-10")));
  }

  void aLostEngineEndsItsJobsAndKeepsTheData() {
    EngineClient client;
    RunStore store(&client);
    auto transport = std::make_unique<FakeTransport>();
    FakeTransport* fake = transport.get();
    fake->answers["run.open"] = [](const json&) { return summary("r1", "uuid-1"); };
    client.connectTo(std::move(transport));
    QTRY_COMPARE(client.state(), EngineState::ready);
    fake->say("job.state", {{"job", "j1"}, {"state", "running"}, {"kind", "gates"}, {"run", "r1"}});
    fake->say("gates.steps", rows(1, 10));
    QTRY_VERIFY(store.run(QStringLiteral("uuid-1")) && store.run(QStringLiteral("uuid-1"))->record.rows() == 10);
    fake->crash();
    QCOMPARE(store.run(QStringLiteral("uuid-1"))->record.rows(), size_t{10});
    QVERIFY(!store.run(QStringLiteral("uuid-1"))->live);
    QVERIFY(store.jobs()->find(QStringLiteral("j1"))->isOver());
  }

  void theRecordedSessionFillsTheStore() {
    const QString file = QStringLiteral(TEST_DATA_DIR "/streams/demo_session.jsonl");
    if (!QFile::exists(file)) QSKIP("no recorded session");
    EngineClient client;
    RunStore store(&client);
    QList<Failure> failures;
    connect(&client, &EngineClient::failed, this, [&](const Failure& f) { failures << f; });
    auto transport = std::make_unique<ReplayTransport>(file, 0);
    ReplayTransport* replay = transport.get();
    QSignalSpy finished(replay, &ReplayTransport::finished);
    client.connectTo(std::move(transport));
    QVERIFY(finished.wait(20'000));
    bool rows = false, evals = false;
    QTRY_VERIFY_WITH_TIMEOUT(([&] {
                               rows = evals = false;
                               for (const QString& uuid : store.uuids()) {
                                 rows = rows || store.run(uuid)->record.rows() > 10;
                                 for (const EvalSet& set : store.evalSets(uuid)) evals = evals || !store.evaluatedPlans(uuid, QString::fromStdString(set.name)).empty();
                               }
                               return rows && evals;
                             }()),
                             5000);
    for (const Failure& failure : failures) QVERIFY2(failure.stage != QStringLiteral("protocol"), qPrintable(failure.message));
  }

  void runTreeIsAModel() {
    RunStore store(nullptr);
    Workspace workspace;
    RunTreeModel model(&store, &workspace);
    QAbstractItemModelTester tester(&model, QAbstractItemModelTester::FailureReportingMode::QtTest);
    RunRecord align = sample_record();
    align.kind = "align";
    align.parent_uuid.clear();
    RunRecord gates = sample_record();
    gates.parent_uuid = align.uuid;
    RunRecord loop = sample_record();
    loop.parent_uuid = loop.uuid;  // a file may say so
    store.addRecord(gates, QStringLiteral("gates"));
    store.addRecord(align, QStringLiteral("align"));
    store.addRecord(loop, QStringLiteral("loop"));
    QCOMPARE(model.rowCount(), 2);
    const QModelIndex child = model.indexOf(QString::fromStdString(gates.uuid));
    QCOMPARE(child.parent(), model.indexOf(QString::fromStdString(align.uuid)));
    QVERIFY(model.setData(child, QStringLiteral("seed 1")));
    QCOMPARE(model.data(model.indexOf(QString::fromStdString(gates.uuid))).toString(), QStringLiteral("seed 1"));
    workspace.undoStack()->undo();
    QCOMPARE(model.data(model.indexOf(QString::fromStdString(gates.uuid))).toString(), QStringLiteral("gates"));
    store.close(QString::fromStdString(align.uuid));
    QCOMPARE(model.rowCount(), 2);
  }

  void planExportGivesThePlanBack() {
    const RunRecord record = sample_record();
    const LayerPlan plan = LayerPlan::parse("6:0,3-4");
    const HybridConfig back = parse_hybrid_config(write_hybrid_config(planExport(record, plan, {Lock::full, Lock::free, Lock::free, Lock::free, Lock::free, Lock::linear})), "test");
    QCOMPARE(back.plan.to_string(), plan.to_string());
    QCOMPARE(back.selection.run_uuid, record.uuid);
    QVERIFY(back.selection.gates && back.selection.gates->size() == 6);
    QVERIFY(back.locks[5] == Lock::linear);
  }
};

QTEST_MAIN(StateTest)
#include "state_test.moc"
