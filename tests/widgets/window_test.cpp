// SPDX-License-Identifier: GPL-3.0-or-later
// The window as a whole: opens, every control has a name, pages, palette, trouble, launch, export.
#include <algorithm>
#include <cmath>

#include <QAccessible>
#include <QAbstractItemView>
#include <QAbstractSpinBox>
#include <QAction>
#include <QClipboard>
#include <QComboBox>
#include <QDialog>
#include <QDockWidget>
#include <QLabel>
#include <QLineEdit>
#include <QPushButton>
#include <QSignalSpy>
#include <QTemporaryDir>
#include <QTest>
#include <QToolBar>

#include "core/run/hybrid_config.h"
#include "fake_transport.h"
#include "tests/run/sample_record.h"
#include "widgets/pages/distill_page.h"
#include "widgets/pages/export_page.h"
#include "widgets/pages/option_form.h"
#include "widgets/pages/setup_page.h"
#include "widgets/shell/command_palette.h"
#include "widgets/shell/main_window.h"
#include "widgets/shell/theme.h"
#include "widgets/state/run_store.h"
#include "widgets/state/selection.h"
#include "widgets/state/workspace.h"

using namespace flashmorph;
using nlohmann::json;

namespace {

struct Bench {
  EngineClient client;
  RunStore store{&client};
  Workspace workspace;
  Selection selection;
  MainWindow window{&client, &store, &workspace, &selection};

  FakeTransport* connectFake() {
    auto transport = std::make_unique<FakeTransport>();
    FakeTransport* fake = transport.get();
    fake->answers["model.inspect"] = [](const json&) {
      return json{{"name", "tiny"}, {"family", "qwen3"}, {"layers", 6}, {"heads", 4}, {"kv_heads", 2}, {"head_dim", 32}, {"hidden", 128}, {"max_position", 2048},
                  {"weights", 1000}, {"kv_bytes_per_token", 3072}, {"rope", {{"type", "default"}}}, {"budgets", {{"3:1", 2}}}, {"unsupported", json::array()},
                  {"targets", {{{"name", "plan"}, {"state", "ok"}, {"reason", ""}}}}};
    };
    fake->answers["preflight"] = [](const json&) {
      return json{{"rows", {{{"name", "memory"}, {"level", "ok"}, {"text", "1 GB of 8"}, {"cures", json::array()}}}}, {"estimate_s", 12.0}, {"estimate_from", "measured"}, {"command", "flashmorph gates"}};
    };
    client.connectTo(std::move(transport));
    return fake;
  }

  // A hidden page asks the engine for nothing.
  void showPage(const QString& name) {
    window.show();
    window.showPage(name);
  }
};

void namelessControls(QAccessibleInterface* at, QStringList& nameless, int depth = 0) {
  if (!at || depth > 40) return;
  static const QSet<QAccessible::Role> kControls = {QAccessible::Button, QAccessible::CheckBox, QAccessible::RadioButton, QAccessible::ComboBox, QAccessible::EditableText,
                                                    QAccessible::SpinBox, QAccessible::Slider, QAccessible::List, QAccessible::Table, QAccessible::Tree, QAccessible::ProgressBar};
  auto* widget = qobject_cast<QWidget*>(at->object());
  // Parts that Qt itself puts into its widgets.
  const bool inner = widget && (widget->objectName().startsWith(QStringLiteral("qt_")) || widget->inherits("QComboBoxListView"));
  if (widget && !inner && kControls.contains(at->role()) && at->text(QAccessible::Name).isEmpty())
    nameless << QStringLiteral("%1 \"%2\" in %3").arg(QString::fromLatin1(widget->metaObject()->className()), widget->objectName(), widget->parentWidget() ? widget->parentWidget()->objectName() : QString());
  for (int i = 0; i < at->childCount(); ++i) namelessControls(at->child(i), nameless, depth + 1);
}

}  // namespace

class WindowTest : public QObject {
  Q_OBJECT
 private slots:
  void opensWithEveryPage() {
    Bench b;
    b.window.show();
    QVERIFY(QTest::qWaitForWindowExposed(&b.window));
    QCOMPARE(MainWindow::pageNames().size(), 7);
    for (int i = 0; i < 7; ++i) {
      const QString name = MainWindow::pageNames()[i];
      QTest::keyClick(&b.window, static_cast<Qt::Key>(Qt::Key_1 + i), Qt::ControlModifier);
      QCOMPARE(b.window.currentPage(), name);
      QVERIFY(!b.window.grab().isNull());
    }
  }

  void everyControlHasAName() {
    Bench b;
    b.store.addRecord(sample_record(), QStringLiteral("sample"));
    b.window.show();
    QVERIFY(QTest::qWaitForWindowExposed(&b.window));
    QStringList nameless;
    for (const QString& page : MainWindow::pageNames()) {
      b.window.showPage(page);
      namelessControls(QAccessible::queryAccessibleInterface(&b.window), nameless);
    }
    nameless.removeDuplicates();
    QVERIFY2(nameless.isEmpty(), qPrintable(nameless.join(u'\n')));
  }

  void tabReachesEveryControlOfEveryPage() {
    Bench b;
    b.connectFake();
    const QString run = b.store.addRecord(sample_record(), QStringLiteral("sample"));
    b.workspace.setCurrentRun(run);
    const LayerPlan plan = sample_record().plans.front().plan;
    for (int slot = 0; slot < 4; ++slot) b.workspace.setSlot(slot, {run, QString::fromStdString(plan.to_string()), {}, QStringLiteral("aligned"), {}});
    b.window.show();
    QVERIFY(QTest::qWaitForWindowActive(&b.window));
    QTRY_COMPARE(b.client.state(), EngineState::ready);
    for (const QString& name : MainWindow::pageNames()) {
      b.window.showPage(name);
      QTest::qWait(200);
      QWidget* page = b.window.page(name);
      // The real key, round and round; a text field may keep Tab only if it says so.
      QSet<QWidget*> reached;
      page->setFocus();
      for (int i = 0; i < 400; ++i) {
        QWidget* at = QApplication::focusWidget();
        QTest::keyClick(at ? at : &b.window, Qt::Key_Tab);
        at = QApplication::focusWidget();
        if (at && reached.contains(at) && i > 200) break;
        if (at) reached.insert(at);
      }
      QStringList missed;
      int controls = 0;
      for (QWidget* widget : page->findChildren<QWidget*>()) {
        const bool control = qobject_cast<QAbstractButton*>(widget) || qobject_cast<QComboBox*>(widget) || qobject_cast<QLineEdit*>(widget) || qobject_cast<QAbstractItemView*>(widget) ||
                             qobject_cast<QAbstractSpinBox*>(widget) || widget->inherits("flashmorph::View") || widget->inherits("flashmorph::BudgetSlider");
        // Parts of a box or a table are reached through it.
        bool part = false;
        for (QWidget* up = widget->parentWidget(); up && up != page; up = up->parentWidget()) part = part || qobject_cast<QComboBox*>(up) || qobject_cast<QAbstractSpinBox*>(up) || qobject_cast<QAbstractItemView*>(up) || qobject_cast<QLineEdit*>(up);
        if (!control || part || !widget->isVisible() || !widget->isEnabled()) continue;
        ++controls;
        if (!reached.contains(widget)) missed << QStringLiteral("%1 %2").arg(QString::fromLatin1(widget->metaObject()->className()), widget->objectName());
      }
      QVERIFY2(controls > 1, qPrintable(name));
      QVERIFY2(missed.isEmpty(), qPrintable(name + QStringLiteral(": ") + missed.join(QStringLiteral(", "))));
    }
  }

  void everyPageFitsASmallScreen() {
    Bench b;
    const QString run = b.store.addRecord(sample_record(), QStringLiteral("sample"));
    b.workspace.setCurrentRun(run);
    const LayerPlan plan = sample_record().plans.front().plan;
    for (int slot = 0; slot < 4; ++slot) b.workspace.setSlot(slot, {run, QString::fromStdString(plan.to_string()), {}, QStringLiteral("aligned"), {}});
    b.window.resize(1280, 800);
    b.window.show();
    QVERIFY(QTest::qWaitForWindowExposed(&b.window));
    for (const QString& name : MainWindow::pageNames()) {
      b.window.showPage(name);
      QTest::qWait(150);
      QVERIFY2(b.window.width() == 1280 && b.window.height() == 800, qPrintable(QStringLiteral("%1 grew the window to %2 x %3").arg(name).arg(b.window.width()).arg(b.window.height())));
      QWidget* page = b.window.page(name);
      // Nothing is cut off to the right.
      for (QWidget* widget : page->findChildren<QWidget*>())
        if (widget->isVisible() && (qobject_cast<QAbstractButton*>(widget) || widget->inherits("flashmorph::View")) && widget->visibleRegion().boundingRect().height() > 0)
          QVERIFY2(widget->mapTo(page, QPoint(widget->width(), 0)).x() <= page->width(), qPrintable(QStringLiteral("%1: %2 ends at %3 of %4").arg(name, widget->objectName()).arg(widget->mapTo(page, QPoint(widget->width(), 0)).x()).arg(page->width())));
    }
  }

  void aStoppedRunCanBeResumed() {
    Bench b;
    FakeTransport* fake = b.connectFake();
    fake->answers["gates.start"] = [](const json&) { return json{{"job", "j1"}, {"run", "r1"}}; };
    RunRecord record = sample_record();
    record.state = "finished";
    const QString run = b.store.addRecord(record, QStringLiteral("sample"), QStringLiteral("/runs/sample"));
    b.workspace.setCurrentRun(run);
    b.showPage(QStringLiteral("gates"));
    auto* resume = b.window.page(QStringLiteral("gates"))->findChild<QPushButton*>(QStringLiteral("gates resume"));
    QTest::qWait(150);
    QVERIFY(!resume->isVisible());
    record.state = "running";  // and nobody runs it
    b.store.addRecord(record, QStringLiteral("sample"), QStringLiteral("/runs/sample"));
    QCOMPARE(b.store.run(run)->stateText(), QStringLiteral("unfinished"));
    QTRY_VERIFY(resume->isVisible());
    QTRY_COMPARE(b.client.state(), EngineState::ready);
    QTest::mouseClick(resume, Qt::LeftButton);
    QTRY_COMPARE(fake->asked("gates.start"), 1);
    for (const json& request : fake->requests)
      if (request["method"] == "gates.start") {
        QCOMPARE(request["params"]["run"].get<std::string>(), std::string("/runs/sample"));
        QVERIFY(request["params"]["resume"].get<bool>());
        QVERIFY(!request["params"].contains("steps"));
      }
  }

  void selectCopiesItsCommandLine() {
    Bench b;
    const QString run = b.store.addRecord(sample_record(), QStringLiteral("sample"), QStringLiteral("/runs/sample"));
    b.workspace.setCurrentRun(run);
    b.showPage(QStringLiteral("select"));
    QTest::qWait(150);
    QApplication::clipboard()->clear();
    QTest::keyClick(&b.window, Qt::Key_C, Qt::ControlModifier | Qt::ShiftModifier);
    const QString line = QApplication::clipboard()->text();
    QVERIFY2(line.startsWith(QStringLiteral("flashmorph eval")) && line.contains(QStringLiteral("--run /runs/sample")) && line.contains(QStringLiteral("--plans")), qPrintable(line));
  }

  void tabReachesTheLaunchButton() {
    Bench b;
    FakeTransport* fake = b.connectFake();
    Q_UNUSED(fake);
    b.window.show();
    QVERIFY(QTest::qWaitForWindowExposed(&b.window));
    b.window.showPage(QStringLiteral("setup"));
    auto* setup = static_cast<SetupPage*>(b.window.page(QStringLiteral("setup")));
    setup->setModel(QStringLiteral("/model"));
    auto* launch = setup->findChild<QPushButton*>(QStringLiteral("launch"));
    QTRY_VERIFY_WITH_TIMEOUT(launch->isEnabled(), 5000);
    auto* model = setup->findChild<QLineEdit*>(QStringLiteral("modelPath"));
    model->setFocus();
    QStringList seen;
    for (QWidget* at = model->nextInFocusChain(); at != model && seen.size() < 500; at = at->nextInFocusChain()) {
      if ((at->focusPolicy() & Qt::TabFocus) && at->isVisibleTo(&b.window)) seen << at->objectName();
    }
    const qsizetype stage = seen.indexOf(QStringLiteral("stage")), steps = seen.indexOf(QStringLiteral("option_steps")), end = seen.indexOf(QStringLiteral("launch"));
    QVERIFY2(stage >= 0 && steps > stage && end > steps, qPrintable(seen.join(u' ')));
  }

  void setupLaunchesWhatItShows() {
    Bench b;
    FakeTransport* fake = b.connectFake();
    b.showPage(QStringLiteral("setup"));
    fake->answers["gates.start"] = [](const json&) { return json{{"job", "j1"}, {"run", "r1"}, {"name", "gates"}, {"path", "/runs/gates"}, {"command", "c"}}; };
    auto* setup = static_cast<SetupPage*>(b.window.page(QStringLiteral("setup")));
    auto* launch = setup->findChild<QPushButton*>(QStringLiteral("launch"));
    QVERIFY(!launch->isEnabled());
    setup->setModel(QStringLiteral("/model"));
    setup->findChild<QLineEdit*>(QStringLiteral("option_steps"))->setText(QStringLiteral("321"));
    QTRY_VERIFY_WITH_TIMEOUT(launch->isEnabled(), 5000);
    QVERIFY(setup->commandLine().contains(QStringLiteral("--steps 321")));
    // Nonsense disables it and says why.
    setup->findChild<QLineEdit*>(QStringLiteral("option_steps"))->setText(QStringLiteral("many"));
    QVERIFY(!launch->isEnabled());
    QVERIFY(setup->findChild<QLabel*>(QStringLiteral("launchWhy"))->text().contains(QStringLiteral("steps")));
    setup->findChild<QLineEdit*>(QStringLiteral("option_steps"))->setText(QStringLiteral("322"));
    QTRY_VERIFY_WITH_TIMEOUT(launch->isEnabled(), 5000);
    launch->click();
    QTRY_COMPARE(fake->asked("gates.start"), 1);
    for (const json& request : fake->requests)
      if (request["method"] == "gates.start") {
        QCOMPARE(request["params"]["steps"].get<int>(), 322);
        QCOMPARE(request["params"]["model"].get<std::string>(), std::string("/model"));
      }
  }

  void aStopDisablesLaunchAndItsCureHelps() {
    Bench b;
    FakeTransport* fake = b.connectFake();
    fake->answers["preflight"] = [](const json& params) {
      const bool cured = params.value("steps", 0) == 5;
      return json{{"rows", {{{"name", "disk"}, {"level", cured ? "ok" : "stop"}, {"text", "too big"}, {"cures", {{{"text", "5 steps"}, {"set", {{"steps", 5}}}}}}}}}, {"estimate_s", nullptr}, {"estimate_from", "guessed"}, {"command", "c"}};
    };
    b.showPage(QStringLiteral("setup"));
    auto* setup = static_cast<SetupPage*>(b.window.page(QStringLiteral("setup")));
    setup->setModel(QStringLiteral("/model"));
    QTRY_VERIFY_WITH_TIMEOUT(fake->asked("preflight") > 0 && setup->findChild<QPushButton*>(QStringLiteral("cure1")), 5000);
    auto* launch = setup->findChild<QPushButton*>(QStringLiteral("launch"));
    QVERIFY(!launch->isEnabled());
    QVERIFY(launch->toolTip().contains(QStringLiteral("too big")));
    setup->findChild<QPushButton*>(QStringLiteral("cure1"))->click();
    QTRY_VERIFY_WITH_TIMEOUT(launch->isEnabled(), 5000);
    QCOMPARE(setup->config().steps, 5);
  }

  void everyOptionOfAStageIsInItsForm() {
    for (const char* command : {"align", "gates", "select", "distill", "finetune"}) {
      OptionForm form(command, {}, {});
      for (const RunOption& option : run_options())
        if (option.takes(command)) QVERIFY2(form.findChild<QWidget*>(QStringLiteral("option_") + QString::fromStdString(option.name)), option.name.c_str());
      const RunConfig config = form.config();
      QVERIFY2(to_json(config) == to_json(default_config(command)), command);
      QVERIFY2(form.problem().isEmpty(), qPrintable(form.problem()));
    }
  }

  void optionsThatDependOnEachOtherAreCheckedTogether() {
    OptionForm form("gates", {}, {});
    form.findChild<QLineEdit*>(QStringLiteral("option_length_max"))->setText(QStringLiteral("384"));
    QVERIFY(form.problem().contains(QStringLiteral("length_min")));
    form.findChild<QLineEdit*>(QStringLiteral("option_length_min"))->setText(QStringLiteral("320"));
    QVERIFY2(form.problem().isEmpty(), qPrintable(form.problem()));
    QCOMPARE(form.config().length_max, 384);
  }

  void theDemoCanBeLaunched() {
    Bench b;
    b.connectFake();
    QTRY_COMPARE(b.client.state(), EngineState::ready);
    b.showPage(QStringLiteral("setup"));
    auto* setup = static_cast<SetupPage*>(b.window.page(QStringLiteral("setup")));
    setup->loadDemo(QStringLiteral(RESOURCES_DIR));
    QTRY_VERIFY_WITH_TIMEOUT(setup->findChild<QPushButton*>(QStringLiteral("launch"))->isEnabled(), 5000);
    QCOMPARE(setup->config().steps, 400);
    QVERIFY(setup->commandLine().contains(QStringLiteral("--length-max 384")));
  }

  void commandPaletteFindsAndRuns() {
    QVERIFY(CommandPalette::rank(QStringLiteral("Reset layout"), QStringLiteral("rl")) >= 0);
    QVERIFY(CommandPalette::rank(QStringLiteral("Reset layout"), QStringLiteral("reset")) < CommandPalette::rank(QStringLiteral("Are presets open"), QStringLiteral("reset")));
    QCOMPARE(CommandPalette::rank(QStringLiteral("Reset layout"), QStringLiteral("xyz")), -1);
    Bench b;
    CommandPalette palette(b.window.commands());
    palette.findChild<QLineEdit*>()->setText(QStringLiteral("7 export"));
    QTest::keyClick(palette.findChild<QLineEdit*>(), Qt::Key_Return);
    QCOMPARE(b.window.currentPage(), QStringLiteral("export"));
  }

  void resetLayoutBringsPanelsBack() {
    Bench b;
    b.window.show();
    for (QDockWidget* dock : b.window.findChildren<QDockWidget*>()) dock->close();
    for (QAction* action : b.window.commands())
      if (action->objectName() == u"action_reset_layout") action->trigger();
    QCOMPARE(b.window.findChildren<QDockWidget*>().size(), 4);
    for (QDockWidget* dock : b.window.findChildren<QDockWidget*>()) QVERIFY2(!dock->isHidden() && !dock->isFloating(), qPrintable(dock->objectName()));
  }

  void aCrashOffersRestartAndResume() {
    Bench b;
    FakeTransport* fake = b.connectFake();
    fake->answers["run.open"] = [](const json&) {
      return json{{"run", "r1"}, {"name", "gates-1"}, {"path", "/nowhere"}, {"uuid", "u1"}, {"kind", "gates"}, {"state", "running"}, {"layers", 2}, {"config", json::object()}};
    };
    QTRY_COMPARE(b.client.state(), EngineState::ready);
    fake->say("job.state", {{"job", "j1"}, {"state", "running"}, {"kind", "gates"}, {"run", "r1"}});
    QTRY_VERIFY(b.store.run(QStringLiteral("u1")));
    fake->say("gates.steps", {{"job", "j1"}, {"step", {40}}, {"alpha", {{1, 1}}}, {"raw", {{1, 1}}}, {"loss", {5}}, {"penalty", {0.1}}});
    b.store.applyPending();
    fake->say("job.progress", {{"job", "j1"}, {"what", "steps"}, {"done", 40}, {"total", 100}, {"eta_s", nullptr}, {"tokens_per_s", nullptr}});
    fake->crash();
    QCOMPARE(b.window.bannerStack()->banners().size(), 1);
    QStringList texts;
    for (const QPushButton* button : b.window.bannerStack()->banners()[0]->findChildren<QPushButton*>()) texts << button->text();
    QVERIFY2(texts.contains(QStringLiteral("Restart")) && texts.contains(QStringLiteral("Resume from step 40")), qPrintable(texts.join(u',')));
    QVERIFY(b.window.bannerStack()->banners()[0]->report().contains(QStringLiteral("crashed")));
    // Views keep their data.
    QCOMPARE(b.store.run(QStringLiteral("u1"))->record.rows(), size_t{1});
  }

  void silenceOffersWaitAndForceStop() {
    Bench b;
    b.client.setSilenceLimit(60);
    FakeTransport* fake = b.connectFake();
    QTRY_COMPARE(b.client.state(), EngineState::notResponding);
    QCOMPARE(b.window.bannerStack()->banners().size(), 1);
    QVERIFY(!fake->killed);
    fake->say("engine.heartbeat", {{"t_s", 1.0}, {"step", 0}, {"worker_age_s", 0}, {"rss_bytes", 5}});
    QCOMPARE(b.window.bannerStack()->banners().size(), 0);
  }

  void sameTroubleIsCountedNotStacked() {
    BannerStack stack;
    for (int i = 0; i < 10; ++i) stack.add({QStringLiteral("a"), QStringLiteral("same"), {}, 0, {}, {}});
    QCOMPARE(stack.banners().size(), 1);
    for (int i = 0; i < 10; ++i) stack.add({QStringLiteral("a"), QString::number(i), {}, 0, {}, {}});
    QCOMPARE(stack.banners().size(), 4);
  }

  void distillSaysWhyItCannotStart() {
    Bench b;
    b.store.addRecord(sample_record(), QStringLiteral("sample"));
    b.connectFake();  // its stages do not list distill
    QTRY_COMPARE(b.client.state(), EngineState::ready);
    auto* page = static_cast<DistillPage*>(b.window.page(QStringLiteral("distill")));
    auto* start = page->findChild<QPushButton*>(QStringLiteral("distillStart"));
    QTRY_VERIFY(page->findChild<QLabel*>(QStringLiteral("distillWhy"))->text().contains(QStringLiteral("distill")));
    QVERIFY(!start->isEnabled());
  }

  void distillDialogFocusesCancel() {
    Bench b;
    b.store.addRecord(sample_record(), QStringLiteral("sample"));
    FakeTransport* fake = b.connectFake();
    fake->answers["hello"] = [](const json&) { return json{{"protocol", {1, 0}}, {"engine", "1"}, {"features", json::array()}, {"stages", {"distill"}}}; };
    fake->answers["distill.start"] = [](const json&) { return json{{"job", "j1"}, {"run", "r1"}}; };
    b.window.show();
    b.window.showPage(QStringLiteral("distill"));
    auto* page = static_cast<DistillPage*>(b.window.page(QStringLiteral("distill")));
    auto* start = page->findChild<QPushButton*>(QStringLiteral("distillStart"));
    QTRY_VERIFY_WITH_TIMEOUT(start->isEnabled(), 5000);
    page->launch();
    auto* dialog = page->findChild<QDialog*>(QStringLiteral("launchDialog"));
    QVERIFY(dialog);
    QVERIFY(dialog->findChild<QPushButton*>(QStringLiteral("launchCancel"))->isDefault());
    QVERIFY(dialog->focusWidget() == dialog->findChild<QPushButton*>(QStringLiteral("launchCancel")));
    QCOMPARE(fake->asked("distill.start"), 0);
    dialog->findChild<QPushButton*>(QStringLiteral("launchStart"))->click();
    QTRY_COMPARE(fake->asked("distill.start"), 1);
  }

  void planExportWorksWithoutAnEngine() {
    QTemporaryDir dir;
    Bench b;
    const RunRecord record = sample_record();
    b.store.addRecord(record, QStringLiteral("sample"));
    auto* page = static_cast<ExportPage*>(b.window.page(QStringLiteral("export")));
    QTRY_VERIFY(page->findChild<QComboBox*>(QStringLiteral("exportPlan"))->count() > 0);
    const QString file = dir.filePath(QStringLiteral("hybrid_config.json"));
    QVERIFY(page->writePlan(file));
    const HybridConfig back = load_hybrid_config(file.toStdString());
    QCOMPARE(QString::fromStdString(back.plan.to_string()), page->findChild<QComboBox*>(QStringLiteral("exportPlan"))->currentData().toString());
    QVERIFY(!page->writePlan(QStringLiteral("/proc/no/such/place.json")));
    QVERIFY(page->findChild<QLabel*>(QStringLiteral("exportSaid"))->text().startsWith(QStringLiteral("✕")));
  }

  void palettesAreReadable() {
    const auto luminance = [](const QColor& c) {
      const auto part = [](double v) { return v <= 0.03928 ? v / 12.92 : std::pow((v + 0.055) / 1.055, 2.4); };
      return 0.2126 * part(c.redF()) + 0.7152 * part(c.greenF()) + 0.0722 * part(c.blueF());
    };
    const auto contrast = [&](const QColor& a, const QColor& b) {
      const double x = luminance(a), y = luminance(b);
      return (std::max(x, y) + 0.05) / (std::min(x, y) + 0.05);
    };
    for (const QPalette& p : {lightPalette(), darkPalette()}) {
      QVERIFY(contrast(p.color(QPalette::WindowText), p.color(QPalette::Window)) >= 4.5);
      QVERIFY(contrast(p.color(QPalette::Text), p.color(QPalette::Base)) >= 4.5);
      QVERIFY(contrast(p.color(QPalette::ButtonText), p.color(QPalette::Button)) >= 4.5);
      QVERIFY(contrast(p.color(QPalette::HighlightedText), p.color(QPalette::Highlight)) >= 4.5);
      QVERIFY(contrast(p.color(QPalette::Link), p.color(QPalette::Base)) >= 4.5);
      QVERIFY(contrast(p.color(QPalette::PlaceholderText), p.color(QPalette::Base)) >= 4.5);
    }
  }

  void recentsStayWhenAFileIsGone() {
    Bench b;
    b.workspace.addRecentRun(QStringLiteral("/no/longer/there"));
    b.window.openPath(QStringLiteral("/no/longer/there"));
    QCOMPARE(b.workspace.recentRuns().size(), 1);
    QCOMPARE(b.window.bannerStack()->banners().size(), 1);
  }
};

QTEST_MAIN(WindowTest)
#include "window_test.moc"
