// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/shell/headless.h"

#include <cstdio>

#include <QElapsedTimer>
#include <QEventLoop>
#include <QTimer>

#include "widgets/shell/main_window.h"
#include "widgets/state/run_store.h"
#include "widgets/state/workspace.h"

namespace flashmorph {

namespace {

int refuse(const QString& sentence, int code) {
  std::fprintf(stderr, "flashmorph-workbench: %s\n", qUtf8Printable(sentence));
  return code;
}

void spin(int ms) {
  QEventLoop loop;
  QTimer::singleShot(ms, &loop, &QEventLoop::quit);
  loop.exec();
}

}  // namespace

QSize sizeOf(const QString& text) {
  const QStringList parts = text.split(u'x');
  if (parts.size() != 2) return {};
  const QSize size(parts[0].toInt(), parts[1].toInt());
  return size.width() >= 50 && size.height() >= 50 && size.width() <= 16384 && size.height() <= 16384 ? size : QSize();
}

int takeScreenshot(MainWindow& window, const QString& page, const QString& file, RunStore& store, Workspace& workspace) {
  if (!MainWindow::pageNames().contains(page)) return refuse(QObject::tr("--screenshot %1: pages are %2").arg(page, MainWindow::pageNames().join(QStringLiteral(", "))), 2);
  if (file.isEmpty()) return refuse(QObject::tr("--screenshot %1: where to? Give -o FILE").arg(page), 2);
  // Until everything asked for is read and a replay has settled, at most 20 s.
  QElapsedTimer clock;
  clock.start();
  qsizetype rows = -1;
  int still = 0;
  while (clock.elapsed() < 20'000 && still < 8) {
    spin(150);
    qsizetype now = 0;
    for (const QString& uuid : store.uuids()) now += static_cast<qsizetype>(store.run(uuid)->record.rows()) + (store.run(uuid)->loading ? 1'000'000 : 0) + 1;
    still = now == rows ? still + 1 : 0;
    rows = now;
  }
  if (workspace.currentRun().isEmpty() && !store.uuids().isEmpty()) workspace.setCurrentRun(store.uuids().first());
  window.showPage(page);
  spin(1200);
  return window.grab().save(file, "PNG") ? 0 : refuse(QObject::tr("%1 cannot be written").arg(file), 1);
}

}  // namespace flashmorph
