// SPDX-License-Identifier: GPL-3.0-or-later
// The stories of the workbench with the real engine and the demo's teacher, driven with keys and
// mouse alone: gates to an exported plan, a crash in the middle, distilling to an exported hybrid.
#include <csignal>

#include <QAction>
#include <QCheckBox>
#include <QClipboard>
#include <QDialog>
#include <QDir>
#include <QFile>
#include <QImage>
#include <QLabel>
#include <QPushButton>
#include <QSpinBox>
#include <QTableWidget>
#include <QTemporaryDir>
#include <QToolButton>
#include <QTreeView>

#include <sys/types.h>

#include "core/run/hybrid_config.h"
#include "core/run/run_file.h"
#include "hands.h"
#include "widgets/format/format.h"
#include "widgets/docks/run_tree_model.h"
#include "widgets/pages/compare_page.h"
#include "widgets/pages/gates_page.h"
#include "widgets/shell/main_window.h"
#include "widgets/state/run_store.h"
#include "widgets/state/selection.h"
#include "widgets/state/workspace.h"
#include "widgets/views/budget_slider.h"
#include "widgets/views/curve_chart.h"
#include "widgets/views/difference_map.h"
#include "widgets/views/gate_bars.h"
#include "widgets/views/gate_rows.h"
#include "widgets/views/recall_map.h"

using namespace flashmorph;

class StoryTest : public QObject {
  Q_OBJECT

  QTemporaryDir m_dir;
  std::unique_ptr<EngineClient> m_client;
  std::unique_ptr<RunStore> m_store;
  std::unique_ptr<Workspace> m_workspace;
  std::unique_ptr<Selection> m_selection;
  std::unique_ptr<MainWindow> m_window;

  template <class T>
  T* on(const char* page, const char* name) {
    QWidget* at = m_window->page(QLatin1String(page));
    const auto all = at->findChildren<T*>(QLatin1String(name));
    // Forms of other stages have fields of the same name.
    for (T* one : all)
      if (one->isVisible()) return one;
    return all.isEmpty() ? nullptr : all.first();
  }
  // A closed dialog leaves no active window behind without a window manager.
  void front() {
    if (m_window->isActiveWindow()) return;
    m_window->activateWindow();
    hands::wait([this] { return m_window->isActiveWindow(); }, 5);
  }
  void key(Qt::Key key, Qt::KeyboardModifiers modifiers = Qt::NoModifier) {
    QWidget* at = QApplication::focusWidget();
    QTest::keyClick(at ? at : m_window.get(), key, modifiers);
  }
  void toPage(int number) {
    front();
    QTest::keyClick(m_window.get(), static_cast<Qt::Key>(Qt::Key_0 + number), Qt::ControlModifier);
  }
  /// Clicks the run in the Runs panel.
  bool pickRun(const QString& uuid) {
    auto* tree = m_window->findChild<QTreeView*>(QStringLiteral("runsTree"));
    const auto find = [&](auto& self, const QModelIndex& parent) -> QModelIndex {
      for (int row = 0; row < tree->model()->rowCount(parent); ++row) {
        const QModelIndex at = tree->model()->index(row, 0, parent);
        if (at.data(RunTreeModel::UuidRole).toString() == uuid) return at;
        if (const QModelIndex below = self(self, at); below.isValid()) return below;
      }
      return {};
    };
    const QModelIndex at = find(find, {});
    if (!at.isValid()) return false;
    tree->scrollTo(at);
    QTest::mouseClick(tree->viewport(), Qt::LeftButton, Qt::NoModifier, tree->visualRect(at).center());
    return m_workspace->currentRun() == uuid;
  }
  const Run* current() { return m_store->run(m_workspace->currentRun()); }
  QString text(const char* page, const char* label) {
    auto* l = on<QLabel>(page, label);
    return l ? l->text() : QString();
  }
  QString jobs() {
    QStringList lines;
    for (const Job& job : m_store->jobs()->jobs()) lines << QStringLiteral("%1 %2 %3 %4/%5 %6 %7").arg(job.id, job.kind, job.state).arg(job.done).arg(job.total).arg(job.reason, job.failure ? job.failure->message : QString());
    return QStringLiteral("jobs: %1; engine: %2").arg(lines.join(QStringLiteral(", ")), engineStateText(m_client->state()));
  }
  bool anyJob(const QString& kind, const QString& state) {
    for (const Job& job : m_store->jobs()->jobs())
      if (job.kind == kind && job.state == state) return true;
    return false;
  }
  QPushButton* bannerButton(const QString& begins) {
    for (Banner* banner : m_window->bannerStack()->banners())
      for (QPushButton* button : banner->findChildren<QPushButton*>())
        if (button->text().startsWith(begins)) return button;
    return nullptr;
  }
  QPushButton* windowButton(const QString& objectName) {
    for (QPushButton* button : m_window->findChildren<QPushButton*>(QRegularExpression(objectName)))
      if (button->isVisible() && button->isEnabled()) return button;
    return nullptr;
  }
  void open() {
    m_client = std::make_unique<EngineClient>();
    m_store = std::make_unique<RunStore>(m_client.get());
    m_workspace = std::make_unique<Workspace>(m_dir.filePath(QStringLiteral("workspace.json")));
    m_selection = std::make_unique<Selection>();
    m_window = std::make_unique<MainWindow>(m_client.get(), m_store.get(), m_workspace.get(), m_selection.get());
    m_window->resize(1280, 800);
    m_window->show();
    m_window->activateWindow();
    QVERIFY(QTest::qWaitForWindowActive(m_window.get()));
  }
  /// From Start to a gate training of so many steps that runs.
  void launchGates(int steps, int checkpointEvery) {
    toPage(1);
    hands::click(on<QPushButton>("start", "startDemo"));
    QCOMPARE(m_window->currentPage(), QStringLiteral("setup"));
    hands::type(on<QLineEdit>("setup", "option_steps"), QString::number(steps));
    if (checkpointEvery > 0) {
      if (auto* unfold = on<QToolButton>("setup", "allOptions"); !unfold->isChecked()) hands::click(unfold);
      WAIT_FOR(on<QLineEdit>("setup", "option_checkpoint_every")->isVisible(), 5, "all options to unfold", QString());
      hands::type(on<QLineEdit>("setup", "option_checkpoint_every"), QString::number(checkpointEvery));
    }
    WAIT_FOR(on<QPushButton>("setup", "launch")->isEnabled(), 60, "the checks of the demo to allow Launch", text("setup", "launchWhy") + jobs());
    const auto before = m_store->uuids();
    QTest::keyClick(m_window.get(), Qt::Key_Return, Qt::ControlModifier);
    WAIT_FOR(m_window->currentPage() == u"gates", 30, "the Gates page after Launch", text("setup", "launchWhy"));
    WAIT_FOR(current() && !before.contains(current()->uuid) && current()->live, 30, "the new run to be in front", jobs());
  }

 private slots:
  void initTestCase() {
    QVERIFY(m_dir.isValid());
    qputenv("XDG_DATA_HOME", m_dir.path().toLocal8Bit());
    // The demo as installed, judged by fewer and shorter prompts.
    const QDir resources(RESOURCES_DIR), own(m_dir.path());
    QVERIFY(own.mkpath(QStringLiteral("resources/run_presets")));
    QVERIFY(QFile::link(resources.filePath(QStringLiteral("demo")), own.filePath(QStringLiteral("resources/demo"))));
    QFile preset(resources.filePath(QStringLiteral("run_presets/demo.json")));
    QVERIFY(preset.open(QIODevice::ReadOnly));
    nlohmann::json small = nlohmann::json::parse(preset.readAll().toStdString());
    small["lengths"] = {128, 192};
    small["depths"] = {0.0, 0.5, 1.0};
    small["trials"] = 4;
    small["passkeys"] = 1;
    small["length_min"] = 128;
    small["length_max"] = 160;
    small["length_count"] = 2;
    QFile file(own.filePath(QStringLiteral("resources/run_presets/demo.json")));
    QVERIFY(file.open(QIODevice::WriteOnly) && file.write(QByteArray::fromStdString(small.dump())) > 0);
    file.close();
    qputenv("FLASHMORPH_RESOURCES", own.filePath(QStringLiteral("resources")).toLocal8Bit());
    QVERIFY2(QFileInfo::exists(QCoreApplication::applicationDirPath() + QStringLiteral("/flashmorph")), "the engine is not built beside this test");
    open();
  }

  void cleanupTestCase() {
    m_window.reset();
    m_client.reset();
  }

  void gatesAreSeenLive() {
    launchGates(60, 0);
    if (QTest::currentTestFailed()) return;
    auto* gates = static_cast<GatesPage*>(m_window->page(QStringLiteral("gates")));
    size_t seen = 0;
    WAIT_FOR((seen = current()->record.rows()) >= 5, 60, "five rows of gates", jobs());
    QVERIFY2(current()->live, "the rows came only after the end");
    QVERIFY(gates->rows()->isVisible());
    // Space freezes the page, rows go on arriving in the store.
    hands::click(gates->rows());
    key(Qt::Key_Space);
    QVERIFY(!gates->isFollowing());
    WAIT_FOR(current()->record.rows() > seen, 30, "more rows behind the frozen page", jobs());
    key(Qt::Key_Space);
    QVERIFY(gates->isFollowing());
    WAIT_FOR(!current()->live, 90, "the end of the training", jobs());
    WAIT_FOR(current()->record.state == "finished" && current()->record.rows() == 60, 20, "all 60 rows from the committed file", QString::number(current()->record.rows()));
    QVERIFY(current()->hasScore());
    // What the window shows is what the file says.
    const RunRecord file = read_run_file((current()->path + QStringLiteral("/run.fmrun")).toStdString());
    QVERIFY(file.gates.alpha == current()->record.gates.alpha);
    // A chart without a curve takes no room.
    for (int i = 0; i < 4; ++i)
      if (gates->chart(i)->isVisible()) QVERIFY2(!gates->chart(i)->table().rows.empty(), qPrintable(gates->chart(i)->accessibleName()));
  }

  void theBudgetMovesUnderKeysAndMouse() {
    toPage(4);
    auto* idle = on<QCheckBox>("select", "evaluate when idle");
    if (idle->isChecked()) QTest::mouseClick(idle, Qt::LeftButton, Qt::NoModifier, QPoint(8, idle->height() / 2));
    QVERIFY(!idle->isChecked());
    auto* slider = m_window->page(QStringLiteral("select"))->findChild<BudgetSlider*>();
    auto* bars = m_window->page(QStringLiteral("select"))->findChild<GateBars*>();
    QTest::mouseClick(slider, Qt::LeftButton, Qt::NoModifier, QPoint(slider->width() / 2, 8));
    QCOMPARE(slider->value(), 5);
    QVERIFY(slider->hasFocus());
    key(Qt::Key_Left);
    key(Qt::Key_Left);
    QCOMPARE(slider->value(), 3);
    QCOMPARE(on<QSpinBox>("select", "budget spin")->value(), 3);
    key(Qt::Key_Home);
    QCOMPARE(slider->value(), 0);
    key(Qt::Key_End);
    QCOMPARE(slider->value(), 10);
    QTest::keyClick(m_window.get(), Qt::Key_Z, Qt::ControlModifier);
    QTest::keyClick(m_window.get(), Qt::Key_Z, Qt::ControlModifier);
    QCOMPARE(slider->value(), 3);
    // A drag is one step of undo.
    QTest::mousePress(slider, Qt::LeftButton, Qt::NoModifier, QPoint(slider->width() / 2, 8));
    for (int x = slider->width() / 2; x < slider->width() - 20; x += 40) QTest::mouseMove(slider, QPoint(x, 8));
    QTest::mouseRelease(slider, Qt::LeftButton, Qt::NoModifier, QPoint(slider->width() - 20, 8));
    QVERIFY(slider->value() > 7);
    QTest::keyClick(m_window.get(), Qt::Key_Z, Qt::ControlModifier);
    QCOMPARE(slider->value(), 3);
    // The plan in words is the plan of the solver.
    const GateScore score = current()->score();
    const LayerPlan plan = solve_budget(score.score, score.tie_break, 3, {}).plan;
    QVERIFY2(text("select", "plan text").startsWith(QStringLiteral("full: ") + format::layers(plan) + u' '), qPrintable(text("select", "plan text")));
    // Locks: walk to a bar, lock it linear, K stays.
    hands::click(bars);
    key(Qt::Key_Right);
    QVERIFY(!m_selection->layers().empty());
    const int layer = *m_selection->layers().begin();
    key(Qt::Key_L);
    QVERIFY(m_workspace->locks(current()->uuid, 10)[static_cast<size_t>(layer)] == Lock::linear);
    QCOMPARE(slider->value(), 3);
    key(Qt::Key_U);
    QVERIFY(m_workspace->locks(current()->uuid, 10)[static_cast<size_t>(layer)] == Lock::free);
  }

  void plansAreEvaluatedAndCompared() {
    // The preset's eval set is there before anything was evaluated.
    QVERIFY2(on<QComboBox>("select", "eval set")->currentText().startsWith(QStringLiteral("demo")), qPrintable(on<QComboBox>("select", "eval set")->currentText()));
    auto* bars = m_window->page(QStringLiteral("select"))->findChild<GateBars*>();
    auto* map = m_window->page(QStringLiteral("select"))->findChild<RecallMap*>();
    auto* slider = m_window->page(QStringLiteral("select"))->findChild<BudgetSlider*>();
    bars->setFocus();
    key(Qt::Key_E);
    WAIT_FOR(on<QPushButton>("select", "evaluate")->text() == u"Evaluated", 120, "the evaluation of K 3", text("select", "evaluation state") + jobs());
    for (const TableValue& trials : [&] {
           std::vector<TableValue> column;
           for (const auto& row : map->table().rows) column.push_back(row[2]);
           return column;
         }())
      QVERIFY2(std::get<int64_t>(trials) > 0, "a cell of the map was not evaluated");
    // Teacher and all-linear bracket it.
    WAIT_FOR(!text("select", "brackets").contains(u'-'), 120, "the brackets", text("select", "brackets") + jobs());
    bars->setFocus();
    key(Qt::Key_C);
    slider->setFocus();
    key(Qt::Key_Left);
    QCOMPARE(slider->value(), 2);
    bars->setFocus();
    key(Qt::Key_C);
    key(Qt::Key_E);
    WAIT_FOR(on<QPushButton>("select", "evaluate")->text() == u"Evaluated", 120, "the evaluation of K 2", text("select", "evaluation state") + jobs());
    toPage(5);
    auto* compare = static_cast<ComparePage*>(m_window->page(QStringLiteral("compare")));
    WAIT_FOR(compare->headerText().contains(QStringLiteral("95 %")), 20, "the paired difference in the header", compare->headerText() + compare->refusalText());
    QVERIFY2(compare->warningText().isEmpty(), qPrintable(compare->warningText()));
    hands::click(compare->map(0));
    key(Qt::Key_D);
    QVERIFY(compare->showsDifference());
    QVERIFY(compare->differenceMap(1)->isVisible());
    key(Qt::Key_D);
    const CompareSlot a = m_workspace->slot(0);
    hands::click(compare->map(1));
    key(Qt::Key_W);
    QVERIFY(m_workspace->slot(1) == a);
    key(Qt::Key_W);
    QVERIFY(m_workspace->slot(0) == a);
  }

  void viewsAndPlanAreExported() {
    toPage(4);
    auto* map = m_window->page(QStringLiteral("select"))->findChild<RecallMap*>();
    const QString csv = m_dir.filePath(QStringLiteral("map.csv")), png = m_dir.filePath(QStringLiteral("map.png"));
    for (const QString& file : {csv, png}) {
      front();
      map->setFocus();
      hands::answerFileDialog(file);
      key(Qt::Key_E, Qt::ControlModifier);
      WAIT_FOR(QFileInfo::exists(file), 10, "the exported file", file);
    }
    QVERIFY(QImage(png).size() == map->size());
    // The numbers of the file are those of the run's evaluation.
    const RunRecord record = read_run_file((current()->path + QStringLiteral("/run.fmrun")).toStdString());
    const LayerPlan plan = LayerPlan::parse(m_workspace->slot(1).plan.toStdString());
    const SavedPlan* saved = record.find_plan(plan);
    QVERIFY2(saved, "the run file does not know the evaluated plan");
    const RecallGrid* grid = nullptr;
    for (const SetEvaluations& set : record.evals)
      for (const Evaluation& evaluation : set.evaluations)
        if (evaluation.plan_id == saved->id) grid = &evaluation.grid;
    QVERIFY2(grid, "the run file has no evaluation of the plan");
    QFile file(csv);
    QVERIFY(file.open(QIODevice::ReadOnly));
    const QStringList lines = QString::fromUtf8(file.readAll()).split(u'\n', Qt::SkipEmptyParts);
    QVERIFY(lines.first().startsWith(QStringLiteral("length_tokens,depth_percent,trials,hits,score")));
    QCOMPARE(static_cast<size_t>(lines.size()), grid->cells.size() + 1);
    for (int i = 1; i < lines.size(); ++i) {
      const QStringList words = lines[i].split(u',');
      const auto n = std::find(grid->lengths.begin(), grid->lengths.end(), words[0].toLongLong()) - grid->lengths.begin();
      const auto d = std::find_if(grid->depths.begin(), grid->depths.end(), [&](double depth) { return std::abs(100 * depth - words[1].toDouble()) < 1e-9; }) - grid->depths.begin();
      const RecallCell& cell = grid->at(static_cast<int>(n), static_cast<int>(d));
      QCOMPARE(words[2].toInt(), static_cast<int>(cell.trials));
      QCOMPARE(words[3].toInt(), static_cast<int>(cell.hits));
      QVERIFY(std::abs(words[4].toDouble() - cell.score) < 1e-6);
    }
    toPage(7);
    auto* targets = on<QTableWidget>("export", "exportTargets");
    targets->setFocus();
    key(Qt::Key_End, Qt::ControlModifier);
    WAIT_FOR(on<QPushButton>("export", "exportStart")->isEnabled(), 10, "Export of the plan", text("export", "exportWhy"));
    hands::click(on<QPushButton>("export", "exportStart"));
    const QString written = current()->path + QStringLiteral("/exports/hybrid_config.json");
    WAIT_FOR(QFileInfo::exists(written), 10, "hybrid_config.json", text("export", "exportSaid"));
    const HybridConfig config = load_hybrid_config(written.toStdString());
    QCOMPARE(QString::fromStdString(config.plan.to_string()), QString::fromStdString(plan.to_string()));
  }

  void aKilledEngineLosesNothingThatWasSeen() {
    launchGates(4000, 10);
    if (QTest::currentTestFailed()) return;
    WAIT_FOR(current()->record.rows() >= 25, 90, "rows beyond a checkpoint", jobs());
    const QString uuid = current()->uuid;
    const auto pid = static_cast<pid_t>(m_client->info().pid);
    QVERIFY(pid > 1);
    QCOMPARE(::kill(pid, SIGKILL), 0);
    WAIT_FOR(bannerButton(QStringLiteral("Restart")), 20, "a banner with Restart", engineStateText(m_client->state()));
    QVERIFY2(bannerButton(QStringLiteral("Resume from step")), "the banner offers no Resume");
    const size_t rows = m_store->run(uuid)->record.rows();
    QVERIFY(rows >= 25);
    QVERIFY(!m_store->run(uuid)->live);
    QVERIFY(static_cast<GatesPage*>(m_window->page(QStringLiteral("gates")))->rows()->isVisible());
    // The budget still moves.
    toPage(4);
    auto* slider = m_window->page(QStringLiteral("select"))->findChild<BudgetSlider*>();
    slider->setFocus();
    const int K = slider->value();
    key(Qt::Key_Right);
    QCOMPARE(slider->value(), K + 1);
    // Restart first, Resume then: from the run itself.
    hands::click(bannerButton(QStringLiteral("Restart")));
    WAIT_FOR(m_client->isReady(), 30, "the restarted engine", engineStateText(m_client->state()));
    toPage(3);
    auto* resume = on<QPushButton>("gates", "gates resume");
    QVERIFY(resume);
    WAIT_FOR(resume->isVisible() && resume->isEnabled(), 20, "Resume beside the stopped run", QString::fromStdString(m_store->run(uuid)->record.state));
    hands::click(resume);
    WAIT_FOR(m_store->run(uuid)->live, 60, "the resumed training", jobs());
    WAIT_FOR(m_store->run(uuid)->record.rows() > rows + 5, 90, "rows beyond those before the crash", jobs() + QString::number(m_store->run(uuid)->record.rows()));
    // Steps rise by one: nothing twice, nothing missing.
    const auto& steps = m_store->run(uuid)->record.steps.step;
    for (size_t i = 0; i < steps.size(); ++i) QCOMPARE(static_cast<size_t>(steps[i]), i + steps.front());
    QTest::keyClick(m_window.get(), Qt::Key_Period, Qt::ControlModifier);
    WAIT_FOR(!m_store->run(uuid)->live, 30, "the cancelled training", jobs());
  }

  void aHybridIsDistilledStoppedResumedAndExported() {
    // The first run has the plan.
    QVERIFY(pickRun(m_workspace->slot(0).run));
    toPage(6);
    hands::type(on<QLineEdit>("distill", "option_distill_steps"), QStringLiteral("120"));
    hands::type(on<QLineEdit>("distill", "option_distill_batch"), QStringLiteral("2"));
    hands::type(on<QLineEdit>("distill", "option_distill_micro_batch"), QStringLiteral("2"));
    hands::type(on<QLineEdit>("distill", "option_distill_length"), QStringLiteral("64"));
    hands::type(on<QLineEdit>("distill", "option_checkpoint_every"), QStringLiteral("10"));
    const QString chosen = on<QComboBox>("distill", "planChoice")->currentData().toString();
    QVERIFY(!chosen.isEmpty());
    auto* start = on<QPushButton>("distill", "distillStart");
    WAIT_FOR(start->isEnabled(), 90, "the preflight to allow Start", text("distill", "distillWhy") + jobs());
    QTest::keyClick(m_window.get(), Qt::Key_Return, Qt::ControlModifier);
    auto* dialog = m_window->findChild<QDialog*>(QStringLiteral("launchDialog"));
    QVERIFY(dialog);
    auto* yes = dialog->findChild<QPushButton*>(QStringLiteral("launchStart"));
    hands::click(yes);
    auto* loss = m_window->page(QStringLiteral("distill"))->findChild<CurveChart*>(QStringLiteral("distillLoss"));
    WAIT_FOR(loss->table().rows.size() >= 3, 90, "a loss curve", text("distill", "distillWhy") + text("distill", "distillState") + jobs());
    auto* stop = on<QPushButton>("distill", "distillStopAfter");
    WAIT_FOR(stop->isEnabled(), 10, "Stop after checkpoint", jobs());
    hands::click(stop);
    QCOMPARE(on<QPushButton>("distill", "distillStopNow")->isEnabled(), false);
    WAIT_FOR(anyJob(QStringLiteral("distill"), QStringLiteral("cancelled")), 60, "the stop after a checkpoint", jobs());
    QString hybrid;
    for (const QString& uuid : m_store->uuids())
      if (m_store->run(uuid)->record.kind == "distill") hybrid = uuid;
    QVERIFY(!hybrid.isEmpty());
    const auto lastStep = [&] { return m_store->run(hybrid)->record.steps.step.empty() ? 0 : m_store->run(hybrid)->record.steps.step.back(); };
    WAIT_FOR(!m_store->run(hybrid)->live && lastStep() > 0, 20, "the rows up to the stop", jobs());
    QVERIFY2(QFileInfo::exists(m_store->run(hybrid)->path + QStringLiteral("/checkpoints/train.safetensors")), "stopped without a checkpoint");
    const auto stopped = lastStep();
    QVERIFY(stopped < 120);
    // Resumed on the page itself; fewer steps are not asked again: it goes on to the end of its own plan.
    auto* resume = on<QPushButton>("distill", "distillResume");
    WAIT_FOR(resume->isVisible() && resume->isEnabled(), 10, "Resume beside the stopped training", jobs());
    hands::click(resume);
    WAIT_FOR(m_store->run(hybrid)->live, 60, "the resumed distilling", jobs());
    WAIT_FOR(m_store->run(hybrid)->record.steps.step.back() > stopped, 60, "steps beyond the checkpoint", jobs());
    WAIT_FOR(!m_store->run(hybrid)->live && m_store->run(hybrid)->record.state == "finished", 120, "the end of distilling", jobs());
    WAIT_FOR(m_store->run(hybrid)->record.steps.step.size() == 120, 20, "the loss of every step", QString::number(m_store->run(hybrid)->record.steps.step.size()));
    // Its weights leave.
    QTest::qWait(200);
    QVERIFY(pickRun(hybrid));
    toPage(7);
    auto* targets = on<QTableWidget>("export", "exportTargets");
    auto* exportNow = on<QPushButton>("export", "exportStart");
    targets->setFocus();
    key(Qt::Key_Home, Qt::ControlModifier);
    for (int i = 0; i < 2; ++i) key(Qt::Key_Down);  // HypeNet schema
    WAIT_FOR(exportNow->isEnabled(), 60, "the HypeNet target", text("export", "exportWhy") + jobs());
    hands::click(exportNow);
    WAIT_FOR(text("export", "exportSaid").contains(QStringLiteral("Done.")), 90, "the exported hybrid", text("export", "exportSaid") + jobs());
    const QString folder = text("export", "exportSaid").section(QStringLiteral("Writing "), 1).section(u'\n', 0, 0);
    for (const char* file : {"config.json", "hybrid_config.json", "tokenizer.json", "README.md"}) QVERIFY2(QFileInfo::exists(folder + u'/' + QLatin1String(file)), qPrintable(folder + u'/' + QLatin1String(file)));
    QCOMPARE(QString::fromStdString(load_hybrid_config((folder + QStringLiteral("/hybrid_config.json")).toStdString()).plan.to_string()), chosen);
  }
};

QTEST_MAIN(StoryTest)
#include "story_test.moc"
