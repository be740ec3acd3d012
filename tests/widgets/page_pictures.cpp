// SPDX-License-Identifier: GPL-3.0-or-later
// Renders the pages Gates, Select and Compare to PNG files to look at: empty, filled, failed; light
// and dark; small and large window. page_pictures FOLDER [RUN]
#include <QApplication>
#include <QDir>
#include <QElapsedTimer>
#include <QPixmap>

#include "core/run/run_file.h"
#include "tests/widgets/sample_run.h"
#include "widgets/pages/compare_page.h"
#include "widgets/pages/gates_page.h"
#include "widgets/pages/select_page.h"
#include "widgets/shell/theme.h"

using namespace flashmorph;

namespace {

void take(QWidget& page, const QString& file, QSize size) {
  page.resize(size);
  page.show();
  QElapsedTimer clock;
  clock.start();
  while (clock.elapsed() < 150) QApplication::processEvents(QEventLoop::AllEvents, 20);
  page.grab().save(file);
}

}  // namespace

int main(int argc, char** argv) {
  qputenv("QT_QPA_PLATFORM", "offscreen");
  QApplication app(argc, argv);
  app.setStyle(QStringLiteral("Fusion"));
  const QDir out(argc > 1 ? QString::fromLocal8Bit(argv[1]) : QStringLiteral("."));
  RunRecord record = sample::evaluated(), failed = sample::gates(48, 120);
  if (argc > 2) record = read_run_file(argv[2]);
  failed.state = "failed";
  failed.uuid = new_uuid();
  for (const bool dark : {false, true}) {
    QApplication::setPalette(dark ? darkPalette() : lightPalette());
    for (const QSize size : {QSize(900, 560), QSize(1960, 1150)}) {
      const auto name = [&](const char* what) { return out.filePath(QStringLiteral("%1_%2_%3.png").arg(QLatin1String(what), dark ? QStringLiteral("dark") : QStringLiteral("light")).arg(size.width())); };
      RunStore store(nullptr);
      Workspace workspace;
      Selection selection;
      GatesPage gates(nullptr, &store, &workspace, &selection);
      SelectPage select(nullptr, &store, &workspace, &selection);
      ComparePage compare(nullptr, &store, &workspace, &selection);
      take(gates, name("gates_empty"), size);
      take(select, name("select_empty"), size);
      take(compare, name("compare_empty"), size);
      const QString good = store.addRecord(record, QStringLiteral("seed1")), bad = store.addRecord(failed, QStringLiteral("seed2-failed"));
      workspace.setCurrentRun(bad);
      take(gates, name("gates_failed"), size);
      workspace.setCurrentRun(good);
      workspace.setBudget(good, argc > 2 ? 3 : 7);
      selection.setLayers({2, 5});
      take(gates, name("gates"), size);
      take(select, name("select"), size);
      selection.clear();
      int slot = 0;
      for (const auto& plan : store.evaluatedPlans(good, QString::fromStdString(store.evalSets(good).back().name)))
        if (slot < 4) workspace.setSlot(slot++, {good, QString::fromStdString(plan.to_string()), {}, QStringLiteral("aligned"), {}});
      take(compare, name("compare"), size);
      compare.setDifference(true);
      take(compare, name("compare_difference"), size);
      workspace.setBudget(good, argc > 2 ? 5 : 10);
      take(select, name("select_hatched"), size);
    }
  }
  return 0;
}
