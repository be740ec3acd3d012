// SPDX-License-Identifier: GPL-3.0-or-later
// Pages Gates, Select and Compare over a fake engine: the plan follows in the same frame, maps never
// show another plan's cells, newer plans supersede older questions, comparisons refuse what does not
// compare.
#include <QApplication>
#include <QPushButton>
#include <QSignalSpy>
#include <QSpinBox>
#include <QTest>

#include "tests/widgets/sample_run.h"
#include "widgets/pages/compare_page.h"
#include "widgets/pages/gates_page.h"
#include "widgets/pages/run_values.h"
#include "widgets/pages/select_page.h"
#include "widgets/views/budget_slider.h"
#include "widgets/views/curve_chart.h"
#include "widgets/views/difference_map.h"
#include "widgets/views/gate_bars.h"
#include "widgets/views/gate_lines.h"
#include "widgets/views/gate_rows.h"
#include "widgets/views/plan_grid.h"
#include "widgets/views/plan_strip.h"
#include "widgets/views/recall_map.h"

using namespace flashmorph;

namespace {

// Keeps what is asked, answers when told to.
class FakeEngine : public Transport {
 public:
  void start() override { emit started(); }
  void send(const QByteArray& line) override {
    const auto message = nlohmann::json::parse(line.begin(), line.end());
    const std::string method = message.value("method", std::string());
    if (method == "hello") {
      answer(message["id"], {{"protocol", {1, 0}}, {"engine", "0.1.0"}, {"features", {"pause"}}, {"devices", nlohmann::json::array()}, {"max_line_bytes", 1 << 20}, {"runs", "/runs"}});
    } else {
      asked.push_back(message);
    }
  }
  void finish() override {}
  void kill() override {}
  QString where() const override { return QStringLiteral("fake"); }

  void answer(const nlohmann::json& id, const nlohmann::json& result) {
    emit lineArrived(QByteArray::fromStdString(nlohmann::json{{"jsonrpc", "2.0"}, {"id", id}, {"result", result}}.dump()));
  }
  void refuse(const nlohmann::json& id, const std::string& why) {
    emit lineArrived(QByteArray::fromStdString(nlohmann::json{{"jsonrpc", "2.0"}, {"id", id}, {"error", {{"code", 1005}, {"message", why}}}}.dump()));
  }
  void tell(const std::string& method, nlohmann::json params) {
    params["seq"] = ++m_seq;
    emit lineArrived(QByteArray::fromStdString(nlohmann::json{{"jsonrpc", "2.0"}, {"method", method}, {"params", params}}.dump()));
  }
  std::vector<nlohmann::json> of(const std::string& method) const {
    std::vector<nlohmann::json> out;
    for (const auto& one : asked)
      if (one["method"] == method) out.push_back(one);
    return out;
  }
  std::vector<nlohmann::json> asked;

 private:
  int m_seq = 0;
};

struct Bench {
  EngineClient client;
  FakeEngine* engine = nullptr;
  RunStore store{&client};
  Workspace workspace;
  Selection selection;
  QString run;

  explicit Bench(bool connected = true) {
    if (connected) {
      auto fake = std::make_unique<FakeEngine>();
      engine = fake.get();
      client.connectTo(std::move(fake));
    }
    run = store.addRecord(sample::evaluated(), QStringLiteral("seed1"), QStringLiteral("/runs/seed1"));
    workspace.setCurrentRun(run);
  }
};

std::string planOf(const RunRecord& record, int K) {
  const GateScore score = record.score();
  return solve_budget(score.score, score.tie_break, K).plan.to_string();
}

}  // namespace

class SelectingTest : public QObject {
  Q_OBJECT

 private slots:
  void planFollowsInTheSameFrame() {
    Bench bench(false);
    SelectPage page(nullptr, &bench.store, &bench.workspace, &bench.selection);
    const Run* run = bench.store.run(bench.run);
    QVERIFY(run);
    for (const int K : {8, 7, 3, 20}) {  // it starts at 7
      page.slider()->setValue(K);  // one event, nothing else runs in between
      QCOMPARE(page.solution().budget, K);
      QCOMPARE(page.strip()->plan().to_string(), planOf(run->record, K));
      QCOMPARE(page.bars()->data().solution.plan, page.strip()->plan());
      QCOMPARE(bench.workspace.budget(bench.run), K);
      QCOMPARE(page.findChild<QSpinBox*>(QStringLiteral("budget spin"))->value(), K);
    }
    page.slider()->setValue(7);
    // 8 heads x 128 x 2 bytes x (keys, values) = 4 KiB a layer.
    QVERIFY2(page.planText().contains(QStringLiteral("KV 112 KiB → 28 KiB per token")), qPrintable(page.planText()));
  }

  void locksMoveTheBudget() {
    Bench bench(false);
    SelectPage page(nullptr, &bench.store, &bench.workspace, &bench.selection);
    page.slider()->setValue(2);
    std::set<int> three{4, 9, 10};
    bench.selection.setLayers(three);
    page.lockSelected(u'F');
    QCOMPARE(page.solution().budget, 3);
    for (const int l : three) QVERIFY(page.solution().plan.is_full(l));
    QCOMPARE(page.slider()->minimum(), 3);
    page.lockSelected(u'L');
    QCOMPARE(page.slider()->maximum(), 25);
    for (const int l : three) QVERIFY(!page.solution().plan.is_full(l));
    bench.workspace.undoStack()->undo();
    for (const int l : three) QVERIFY(page.solution().plan.is_full(l));
    bench.workspace.undoStack()->undo();
    QCOMPARE(page.solution().budget, 2);
  }

  void mapIsOfThisVeryPlan() {
    Bench bench(false);
    SelectPage page(nullptr, &bench.store, &bench.workspace, &bench.selection);
    page.slider()->setValue(7);
    const Run* run = bench.store.run(bench.run);
    const RecallGrid* known = bench.store.grid(bench.run, QStringLiteral("needle-2"), page.solution().plan);
    QVERIFY(known);
    QCOMPARE(page.map()->grid()->mean_score(), known->mean_score());
    QCOMPARE(page.map()->cellColor({0, 0}), colorAt(ColorScale::cividis, known->at(0, 0).score));
    page.slider()->setValue(10);  // not evaluated: hatched, not the old cells
    QVERIFY(page.map()->grid());
    QCOMPARE(page.map()->grid()->trials_run(), int64_t{0});
    QVERIFY(!page.map()->cellColor({0, 0}).isValid());
    QVERIFY(run);
    page.slider()->setValue(7);
    const QStringList near = page.nearTexts();
    QVERIFY2(near.join(u'|').contains(QStringLiteral("K 6")) && near.join(u'|').contains(QStringLiteral("K 8")), qPrintable(near.join(u'|')));
    QVERIFY(page.mapText().contains(QStringLiteral("teacher ")));
  }

  void lateCellsNeverReachAnotherPlan() {
    Bench bench;
    QTRY_VERIFY(bench.client.isReady());
    SelectPage page(&bench.client, &bench.store, &bench.workspace, &bench.selection);
    const std::string ten = planOf(bench.store.run(bench.run)->record, 10), eleven = planOf(bench.store.run(bench.run)->record, 11);
    page.slider()->setValue(10);
    QTRY_COMPARE(bench.engine->of("preflight").size(), size_t{1});
    bench.engine->answer(bench.engine->of("preflight")[0]["id"], {{"rows", nlohmann::json::array()}, {"estimate_s", 20.0}});
    QTRY_COMPARE(bench.engine->of("eval.start").size(), size_t{1});
    const auto asked = bench.engine->of("eval.start")[0];
    QCOMPARE(asked["params"]["plan"].get<std::string>(), ten);
    QCOMPARE(asked["params"]["slot"].get<std::string>(), std::string("budget"));
    QCOMPARE(asked["params"]["set"].get<std::string>(), std::string("needle-2"));
    page.slider()->setValue(11);
    bench.engine->answer(asked["id"], {{"job", "j1"}, {"run", "r1"}, {"estimate_s", 20.0}});  // late
    QVERIFY(page.evaluation()->job().isEmpty());
    // Cells of ten arrive while eleven is shown. The store takes them for its own plan only.
    RunRecord record = bench.store.run(bench.run)->record;
    sample::evaluate(record, LayerPlan::parse(ten), "late", sample::set());
    record.revision += 1;
    bench.store.addRecord(record, QStringLiteral("seed1"), QStringLiteral("/runs/seed1"));
    QTest::qWait(250);
    QVERIFY(bench.store.grid(bench.run, QStringLiteral("needle-2"), LayerPlan::parse(ten)));
    QCOMPARE(page.solution().plan.to_string(), eleven);
    QCOMPARE(page.map()->grid()->trials_run(), int64_t{0});
    page.slider()->setValue(10);
    QVERIFY(page.map()->grid()->trials_run() > 0);
  }

  void onlyTheLastPlanAtRestIsAsked() {
    Bench bench;
    QTRY_VERIFY(bench.client.isReady());
    SelectPage page(&bench.client, &bench.store, &bench.workspace, &bench.selection);
    for (const int K : {9, 10, 11, 12, 13}) page.slider()->setValue(K);
    QTest::qWait(PlanEvaluation::kRest_ms / 2);
    QVERIFY(bench.engine->of("preflight").empty());  // not at rest yet
    QTRY_COMPARE(bench.engine->of("preflight").size(), size_t{1});
    const auto question = bench.engine->of("preflight")[0];
    QCOMPARE(question["params"]["plans"][0].get<std::string>(), planOf(bench.store.run(bench.run)->record, 13));
    page.slider()->setValue(14);
    bench.engine->answer(question["id"], {{"rows", nlohmann::json::array()}, {"estimate_s", 1.0}});  // for the older plan: dropped
    QVERIFY(bench.engine->of("eval.start").empty());
    QTRY_COMPARE(bench.engine->of("preflight").size(), size_t{2});
    // Too slow for idle: waits for E.
    bench.engine->answer(bench.engine->of("preflight")[1]["id"], {{"rows", nlohmann::json::array()}, {"estimate_s", 600.0}});
    QCOMPARE(page.evaluation()->state(), PlanEvaluation::State::slow);
    QVERIFY(bench.engine->of("eval.start").empty());
    QTest::keyClick(page.map(), Qt::Key_E);
    QCOMPARE(bench.engine->of("eval.start").size(), size_t{1});
    QVERIFY(!bench.engine->of("eval.start")[0]["params"].contains("slot"));  // by hand: behind the slot
    bench.engine->refuse(bench.engine->of("eval.start")[0]["id"], "no model is loaded");
    QCOMPARE(page.evaluation()->state(), PlanEvaluation::State::failed);
    QVERIFY(page.evaluation()->words().contains(QStringLiteral("no model is loaded")));
  }

  void idleOffAndEvaluatedPlansAskNothing() {
    Bench bench;
    QTRY_VERIFY(bench.client.isReady());
    SelectPage page(&bench.client, &bench.store, &bench.workspace, &bench.selection);
    page.slider()->setValue(7);  // complete
    QTest::qWait(PlanEvaluation::kRest_ms + 200);
    QVERIFY(bench.engine->of("preflight").empty());
    QCOMPARE(page.evaluation()->state(), PlanEvaluation::State::complete);
    page.evaluation()->setWhenIdle(false);
    page.slider()->setValue(12);
    QTRY_COMPARE(bench.engine->of("preflight").size(), size_t{1});
    bench.engine->answer(bench.engine->of("preflight")[0]["id"], {{"rows", nlohmann::json::array()}, {"estimate_s", 1.0}});
    QVERIFY(bench.engine->of("eval.start").empty());  // the estimate alone
  }

  void closeCutOffersSwaps() {
    Bench bench(false);
    RunRecord record = new_run_record("gates", 6);
    record.model = {{"weights_sha256", "x"}};
    const std::vector<float> rows{0.9F, 0.505F, 0.5F, 0.1F, 0.1F, 0.1F};
    for (int s = 1; s <= 5; ++s) {
      record.steps.step.push_back(static_cast<uint32_t>(s));
      record.gates.alpha.insert(record.gates.alpha.end(), rows.begin(), rows.end());
      record.gates.raw.insert(record.gates.raw.end(), rows.begin(), rows.end());
    }
    const QString run = bench.store.addRecord(record, QStringLiteral("close"));
    bench.workspace.setCurrentRun(run);
    SelectPage page(nullptr, &bench.store, &bench.workspace, &bench.selection);
    page.slider()->setValue(2);
    QVERIFY(page.solution().close && !page.solution().undetermined);
    QPushButton* swap = nullptr;
    for (QPushButton* chip : page.findChildren<QPushButton*>())
      if (chip->text() == QStringLiteral("−1 +2")) swap = chip;
    QVERIFY(swap);
    swap->click();
    QCOMPARE(bench.workspace.slot(0).plan, QStringLiteral("6:0,2"));
    page.slider()->setValue(4);  // among three equal ones
    QVERIFY(page.solution().undetermined);
  }

  void compareIsPaired() {
    Bench bench(false);
    ComparePage page(nullptr, &bench.store, &bench.workspace, &bench.selection);
    const RunRecord& record = bench.store.run(bench.run)->record;
    const QString seven = QString::fromStdString(planOf(record, 7)), six = QString::fromStdString(planOf(record, 6));
    bench.workspace.setSlot(0, {bench.run, seven, QStringLiteral("needle-2"), QStringLiteral("aligned"), QStringLiteral("gates")});
    bench.workspace.setSlot(1, {bench.run, six, QStringLiteral("needle-2"), QStringLiteral("aligned"), QStringLiteral("K6")});
    QVERIFY(page.refusalText().isEmpty() && page.warningText().isEmpty());
    const auto paired = compare(*bench.store.grid(bench.run, QStringLiteral("needle-2"), LayerPlan::parse(six.toStdString())),
                                *bench.store.grid(bench.run, QStringLiteral("needle-2"), LayerPlan::parse(seven.toStdString())));
    QVERIFY(page.headerText().contains(pairedText(paired, QStringLiteral("B"), QStringLiteral("A"))));
    QVERIFY(page.headerText().contains(QStringLiteral("240 common trials")));
    QTest::keyClick(page.map(0), Qt::Key_D);
    QVERIFY(page.showsDifference());
    QVERIFY(page.differenceMap(1)->cellColor({0, 0}).isValid());
    bench.workspace.setCurrentSlot(1);
    page.swapCurrent();
    QCOMPARE(bench.workspace.slot(0).plan, six);
    QCOMPARE(page.planGrid()->rows().size(), size_t{2});
    // One linked cursor.
    QTest::mouseClick(page.map(0), Qt::LeftButton, {}, QPoint(60, 60));
    QVERIFY(page.map(1)->selection() == page.map(0)->selection());
  }

  void compareRefusesAndWarns() {
    Bench bench(false);
    ComparePage page(nullptr, &bench.store, &bench.workspace, &bench.selection);
    const QString plan = QString::fromStdString(planOf(bench.store.run(bench.run)->record, 7));
    RunRecord other = sample::evaluated();
    other.uuid = new_uuid();
    other.model["weights_sha256"] = "another teacher";
    const QString strange = bench.store.addRecord(other, QStringLiteral("strange"));
    bench.workspace.setSlot(0, {bench.run, plan, QStringLiteral("needle-2"), QStringLiteral("aligned"), {}});
    bench.workspace.setSlot(1, {strange, plan, QStringLiteral("needle-2"), QStringLiteral("aligned"), {}});
    QVERIFY2(page.refusalText().contains(QStringLiteral("different teachers")), qPrintable(page.refusalText()));
    QVERIFY(!page.headerText().contains(QStringLiteral("common trials")));

    RunRecord sets = sample::gates();
    sets.uuid = new_uuid();
    EvalSet longer = sample::set();
    longer.name = "needle-3";
    longer.seed = 2;
    sample::evaluate(sets, LayerPlan::parse(plan.toStdString()), "gates", longer);
    const QString third = bench.store.addRecord(sets, QStringLiteral("third"));
    bench.workspace.setSlot(1, {third, plan, QStringLiteral("needle-3"), QStringLiteral("aligned"), {}});
    QVERIFY2(page.refusalText().contains(QStringLiteral("different eval sets")), qPrintable(page.refusalText()));

    RunRecord sibling = sample::evaluated();
    sibling.uuid = new_uuid();
    const QString fourth = bench.store.addRecord(sibling, QStringLiteral("fourth"));
    bench.workspace.setSlot(1, {fourth, plan, QStringLiteral("needle-2"), QStringLiteral("aligned"), {}});
    QVERIFY(page.refusalText().isEmpty());
    QVERIFY2(page.warningText().contains(QStringLiteral("different runs")), qPrintable(page.warningText()));
  }

  void pastedPlans() {
    Bench bench(false);
    ComparePage page(nullptr, &bench.store, &bench.workspace, &bench.selection);
    const QStringList wrong = page.pastePlans(QStringLiteral("# a comment\nmine 28:1,11-14\n2, 5, 9\n[0, 4]\n30:1\nnonsense\n"));
    QCOMPARE(bench.workspace.slot(0).plan, QStringLiteral("28:1,11-14"));
    QCOMPARE(bench.workspace.slot(0).label, QStringLiteral("mine"));
    QCOMPARE(bench.workspace.slot(1).plan, QStringLiteral("28:2,5,9"));
    QCOMPARE(bench.workspace.slot(2).plan, QStringLiteral("28:0,4"));
    QCOMPARE(wrong, (QStringList{QStringLiteral("30:1"), QStringLiteral("nonsense")}));
  }

  void gatesPageFollowsAndFreezes() {
    Bench bench(false);
    GatesPage page(nullptr, &bench.store, &bench.workspace, &bench.selection);
    page.refresh();
    QCOMPARE(page.rows()->data().series->rows(), size_t{400});
    QCOMPARE(page.lines()->data().series, page.rows()->data().series);  // one step axis
    page.setRange({100, 200});
    QCOMPARE(page.rows()->data().range, page.lines()->data().range);
    QCOMPARE(page.chart(0)->data().range, (StepRange{100, 200}));
    QTest::keyClick(page.rows(), Qt::Key_Space);
    QVERIFY(!page.isFollowing());
    RunRecord longer = bench.store.run(bench.run)->record;
    longer.steps.step.push_back(401);
    longer.gates.alpha.insert(longer.gates.alpha.end(), 28, 0.5F);
    longer.gates.raw.insert(longer.gates.raw.end(), 28, 0.5F);
    longer.revision += 1;
    bench.store.addRecord(longer, QStringLiteral("seed1"), QStringLiteral("/runs/seed1"));
    QTest::qWait(250);
    QCOMPARE(page.rows()->data().series->rows(), size_t{400});  // frozen
    QTest::keyClick(page.rows(), Qt::Key_Space);
    QCOMPARE(page.rows()->data().series->rows(), size_t{401});
  }

  void illsInWords() {
    Bench bench(false);
    RunRecord record = sample::gates(8, 100);
    std::fill(record.gates.alpha.begin(), record.gates.alpha.end(), 1.0F);
    record.uuid = new_uuid();
    const QString ones = bench.store.addRecord(record, QStringLiteral("ones"));
    GatesPage page(nullptr, &bench.store, &bench.workspace, &bench.selection);
    bench.workspace.setCurrentRun(ones);
    const auto expected = gate_notices(record.gate_history(), 100, 2);
    QVERIFY(!expected.empty());
    QVERIFY2(page.notices().contains(QString::fromStdString(expected.front().message), Qt::CaseInsensitive), qPrintable(page.notices()));
  }

  void alignRunsShowLossAndError() {
    Bench bench(false);
    RunRecord record = new_run_record("align", 4);
    for (int s = 1; s <= 30; ++s) {
      record.steps.step.push_back(static_cast<uint32_t>(s));
      record.steps.loss["align"].push_back(1.0F / static_cast<float>(s));
      for (int l = 0; l < 4; ++l) record.layer.loss.push_back(static_cast<float>(l + 1) / static_cast<float>(s));
    }
    record.layer.error = {0.1F, 0.2F, 0.3F, 0.4F};
    bench.workspace.setCurrentRun(bench.store.addRecord(record, QStringLiteral("align")));
    GatesPage page(nullptr, &bench.store, &bench.workspace, &bench.selection);
    QCOMPARE(page.rows()->data().series->quantity, QStringLiteral("loss"));
    QCOMPARE(page.rows()->data().now[3], static_cast<double>(4.0F / 30.0F));
    // No learning rates were recorded: they get no chart.
    QCOMPARE(page.chart(1)->data().title, QStringLiteral("held-out error per layer"));
    QCOMPARE(page.chart(1)->data().curves[0].y[3], static_cast<double>(0.4F));
    QVERIFY(page.chart(2)->isHidden());
  }

  void truthOfTheDemo() {
    RunRecord record = new_run_record("gates", 10);
    record.model = {{"weights_sha256", "3a85d6537ac234b6eca9ac43c206e7adae23e2a4d88b566ee724db39567c09d1"}};
    const auto table = TruthTable::read(QStringLiteral(RESOURCES_DIR "/demo/truth_lightning.json"), teacherId(record), 10);
    QVERIFY(table);
    // The table of resources/demo/README.md: 2-3 is first of 45, 1-2 number 43, 1-3 second of 120.
    const auto first = table->rankOf(LayerPlan::parse("10:2-3")), bad = table->rankOf(LayerPlan::parse("10:1-2")), second = table->rankOf(LayerPlan::parse("10:1-3"));
    QVERIFY(first && bad && second);
    QCOMPARE(first->rank, 1);
    QCOMPARE(first->plans, 45);
    QCOMPARE(bad->rank, 43);
    QCOMPARE(second->rank, 2);
    QCOMPARE(second->plans, 120);
    QVERIFY(std::abs(second->nll_nats - 0.355) < 0.001);
    QVERIFY(!table->rankOf(LayerPlan::parse("10:0-5")));  // K 6 was not measured
    QVERIFY(!TruthTable::read(QStringLiteral(RESOURCES_DIR "/demo/truth_lightning.json"), QStringLiteral("other"), 10));
    QVERIFY(!TruthTable::read(QStringLiteral(RESOURCES_DIR "/demo/README.md"), teacherId(record), 10));
  }
};

QTEST_MAIN(SelectingTest)
#include "selecting_test.moc"
