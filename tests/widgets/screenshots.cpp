// SPDX-License-Identifier: GPL-3.0-or-later
// Renders every page and every panel to PNG files to look at: empty, busy (the recorded session in
// the middle of its training), filled, failed; light and dark. screenshots FOLDER WxH STREAM [RUN]
#include <cstdio>

#include <QApplication>
#include <QDir>
#include <QDockWidget>
#include <QElapsedTimer>
#include <QFile>
#include <QPixmap>

#include "core/run/run_file.h"
#include "tests/widgets/fake_transport.h"
#include "tests/widgets/sample_run.h"
#include "widgets/client/replay.h"
#include "widgets/pages/compare_page.h"
#include "widgets/pages/run_values.h"
#include "widgets/shell/headless.h"
#include "widgets/shell/main_window.h"
#include "widgets/shell/theme.h"

using namespace flashmorph;

namespace {

void spin(int ms) {
  QElapsedTimer clock;
  clock.start();
  while (clock.elapsed() < ms) QApplication::processEvents(QEventLoop::AllEvents, 20);
}

struct Shot {
  QDir out;
  QString theme;
  QSize size;

  void take(QWidget& widget, const QString& name, const char* state) const {
    const QString file = out.filePath(QStringLiteral("%1_%2_%3.png").arg(name, QLatin1String(state), theme));
    if (!widget.grab().save(file)) std::fprintf(stderr, "screenshots: %s cannot be written\n", qPrintable(file));
  }
  void pages(MainWindow& window, const char* state, const QStringList& names = MainWindow::pageNames()) const {
    for (const QString& page : names) {
      window.showPage(page);
      spin(250);
      take(window, page, state);
    }
  }
  void docks(MainWindow& window, const char* state) const {
    for (QDockWidget* dock : window.findChildren<QDockWidget*>()) take(*dock, dock->objectName(), state);
  }
};

struct Bench {
  EngineClient client;
  RunStore store{&client};
  Workspace workspace;
  Selection selection;
  MainWindow window{&client, &store, &workspace, &selection};
  explicit Bench(QSize size) {
    window.resize(size);
    window.show();
    spin(100);
  }
};

/// Notifications up to the middle of the first training.
int middleOf(const QString& stream) {
  QFile file(stream);
  if (!file.open(QIODevice::ReadOnly)) return 0;
  int notifications = 0, rows = 0;
  QByteArray job;
  while (!file.atEnd()) {
    const auto line = nlohmann::json::parse(file.readLine().toStdString(), nullptr, false);
    if (!line.is_object()) continue;
    const auto& message = line.contains("message") ? line["message"] : line;
    if (!message.contains("method") || message.contains("id")) continue;
    ++notifications;
    if (message["method"] == "gates.steps" && ++rows == 6) return notifications;
  }
  return notifications / 2;
}

void empty(const Shot& shot) {
  Bench b(shot.size);
  shot.pages(b.window, "empty");
  shot.docks(b.window, "empty");
}

void busy(const Shot& shot, const QString& stream) {
  Bench b(shot.size);
  auto transport = std::make_unique<ReplayTransport>(stream, 0);
  ReplayTransport* replay = transport.get();
  const int middle = middleOf(stream);
  QObject::connect(replay, &ReplayTransport::positionChanged, replay, [replay, middle](int position, int) {
    if (position >= middle) replay->setPaused(true);
  });
  b.client.connectTo(std::move(transport));
  for (int i = 0; i < 100 && !replay->isPaused(); ++i) spin(50);
  spin(400);
  shot.pages(b.window, "busy");
  shot.docks(b.window, "busy");
}

void filled(const Shot& shot, const RunRecord& record) {
  Bench b(shot.size);
  const QString run = b.store.addRecord(record, QStringLiteral("gates seed1"));
  b.store.addRecord(sample::gates(28, 200), QStringLiteral("penalty .03"));
  b.workspace.setCurrentRun(run);
  b.workspace.setBudget(run, startBudget(record));
  b.selection.setLayers({2, 5});
  spin(200);
  shot.pages(b.window, "filled", {QStringLiteral("gates"), QStringLiteral("select"), QStringLiteral("distill"), QStringLiteral("export")});
  shot.docks(b.window, "filled");
  int slot = 0;
  if (const auto sets = b.store.evalSets(run); !sets.empty())
    for (const auto& plan : b.store.evaluatedPlans(run, QString::fromStdString(sets.back().name)))
      if (slot < 2) b.workspace.setSlot(slot++, {run, QString::fromStdString(plan.to_string()), {}, QStringLiteral("aligned"), {}});
  shot.pages(b.window, "two", {QStringLiteral("compare")});
  for (const auto& plan : b.store.evaluatedPlans(run, QString::fromStdString(b.store.evalSets(run).back().name)))
    if (slot < 4 && b.workspace.slot(0).plan != QString::fromStdString(plan.to_string()) && b.workspace.slot(1).plan != QString::fromStdString(plan.to_string()))
      b.workspace.setSlot(slot++, {run, QString::fromStdString(plan.to_string()), {}, QStringLiteral("aligned"), {}});
  shot.pages(b.window, "four", {QStringLiteral("compare")});
  static_cast<ComparePage*>(b.window.page(QStringLiteral("compare")))->setDifference(true);
  shot.pages(b.window, "difference", {QStringLiteral("compare")});
}

void failed(const Shot& shot) {
  Bench b(shot.size);
  RunRecord record = sample::gates(28, 120);
  record.state = "failed";
  const QString run = b.store.addRecord(record, QStringLiteral("seed2"));
  b.workspace.setCurrentRun(run);
  auto transport = std::make_unique<FakeTransport>();
  FakeTransport* fake = transport.get();
  b.client.connectTo(std::move(transport));
  spin(100);
  fake->say("job.state", {{"job", "j1"}, {"state", "running"}, {"kind", "gates"}, {"run", "r1"}});
  fake->say("job.state", {{"job", "j1"}, {"state", "failed"}, {"kind", "gates"}, {"run", "r1"},
                          {"error", {{"code", 1010}, {"message", "the loss of step 121 is not finite"}, {"data", {{"stage", "gates"}, {"hint", "lower the learning rate or the penalty"}}}}}});
  spin(100);
  fake->crash();
  spin(200);
  shot.pages(b.window, "failed");
  shot.docks(b.window, "failed");
}

}  // namespace

int main(int argc, char** argv) {
  if (!qEnvironmentVariableIsSet("QT_QPA_PLATFORM")) qputenv("QT_QPA_PLATFORM", "offscreen");
  QApplication app(argc, argv);
  if (argc < 4) {
    std::fprintf(stderr, "screenshots FOLDER WxH STREAM [RUN]\n");
    return 2;
  }
  app.setStyle(QStringLiteral("Fusion"));
  const QDir out(QString::fromLocal8Bit(argv[1]));
  const QSize size = sizeOf(QString::fromLocal8Bit(argv[2]));
  if (!out.mkpath(QStringLiteral(".")) || !size.isValid()) {
    std::fprintf(stderr, "screenshots: expected a folder and a size as 1280x800\n");
    return 2;
  }
  RunRecord record = sample::evaluated();
  if (argc > 4) record = read_run_file(argv[4]);
  for (const bool dark : {false, true}) {
    QApplication::setPalette(dark ? darkPalette() : lightPalette());
    const Shot shot{out, dark ? QStringLiteral("dark") : QStringLiteral("light"), size};
    empty(shot);
    busy(shot, QString::fromLocal8Bit(argv[3]));
    filled(shot, record);
    failed(shot);
  }
  return 0;
}
