// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/shell/headless.h"

#include <algorithm>
#include <cstdio>

#include <QApplication>
#include <QElapsedTimer>
#include <QEventLoop>
#include <QImage>
#include <QPainter>
#include <QSaveFile>
#include <QSvgGenerator>
#include <QTimer>

#include "widgets/client/run_reader.h"
#include "widgets/pages/gates_page.h"
#include "widgets/pages/plan_choice.h"
#include "widgets/shell/main_window.h"
#include "widgets/shell/theme.h"
#include "widgets/state/run_store.h"
#include "widgets/state/selection.h"
#include "widgets/state/workspace.h"
#include "widgets/views/curve_chart.h"
#include "widgets/views/gate_lines.h"
#include "widgets/views/gate_rows.h"
#include "widgets/views/plan_strip.h"
#include "widgets/views/recall_map.h"

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

bool writePicture(const View& view, const ExportRequest& request, QString* why) {
  const QSize size = request.size.isValid() ? request.size : view.sizeHint().expandedTo(QSize(900, 560));
  const QColor paper = view.palette().color(QPalette::Base);
  if (request.file.endsWith(u".svg", Qt::CaseInsensitive)) {
    QSvgGenerator svg;
    svg.setFileName(request.file);
    svg.setSize(size);
    svg.setViewBox(QRect(QPoint(), size));
    svg.setTitle(request.view);
    QPainter painter;
    if (!painter.begin(&svg)) {
      *why = QObject::tr("cannot be written");
      return false;
    }
    painter.fillRect(QRect(QPoint(), size), paper);
    view.draw(painter, QRectF(QPointF(), QSizeF(size)));
    return painter.end();
  }
  QImage image(size * request.scale, QImage::Format_ARGB32_Premultiplied);
  image.fill(paper);
  QPainter painter(&image);
  painter.setRenderHint(QPainter::Antialiasing);
  painter.scale(request.scale, request.scale);
  view.draw(painter, QRectF(QPointF(), QSizeF(size)));
  painter.end();
  if (image.save(request.file, "PNG")) return true;
  *why = QObject::tr("cannot be written");
  return false;
}

bool writeTable(const Table& table, const QString& file, QString* why) {
  QSaveFile out(file);
  if (!out.open(QIODevice::WriteOnly)) {
    *why = out.errorString();
    return false;
  }
  const std::string text = file.endsWith(u".csv", Qt::CaseInsensitive) ? table.to_csv() : table.to_json().dump(2) + "\n";
  out.write(text.data(), static_cast<qint64>(text.size()));
  if (out.commit()) return true;
  *why = out.errorString();
  return false;
}

}  // namespace

const QStringList& exportViewNames() {
  static const QStringList names = {QStringLiteral("gates"), QStringLiteral("lines"), QStringLiteral("loss"), QStringLiteral("penalty"),
                                    QStringLiteral("mean"),  QStringLiteral("error"), QStringLiteral("plan"), QStringLiteral("recall")};
  return names;
}

QSize sizeOf(const QString& text) {
  const QStringList parts = text.split(u'x');
  if (parts.size() != 2) return {};
  const QSize size(parts[0].toInt(), parts[1].toInt());
  return size.width() >= 50 && size.height() >= 50 && size.width() <= 16384 && size.height() <= 16384 ? size : QSize();
}

int exportView(const ExportRequest& request) {
  if (!exportViewNames().contains(request.view))
    return refuse(QObject::tr("--export %1: there is no such view; views are %2").arg(request.view, exportViewNames().join(QStringLiteral(", "))), 2);
  if (request.run.isEmpty()) return refuse(QObject::tr("--export %1: which run? Give its folder or run.fmrun").arg(request.view), 2);
  if (request.file.isEmpty()) return refuse(QObject::tr("--export %1: where to? Give -o FILE").arg(request.view), 2);
  if (request.scale < 1 || request.scale > 4) return refuse(QObject::tr("--scale: expected 1 to 4"), 2);
  const QString ending = request.file.section(u'.', -1).toLower();
  if (!QStringList{QStringLiteral("png"), QStringLiteral("svg"), QStringLiteral("csv"), QStringLiteral("json")}.contains(ending))
    return refuse(QObject::tr("-o %1: the name must end in .png, .svg, .csv or .json").arg(request.file), 2);
  Theme theme;
  theme.choose(request.theme == u"dark" ? ThemeChoice::dark : ThemeChoice::light);
  EngineClient client;
  RunStore store(&client);
  Workspace workspace;
  Selection selection;
  QEventLoop wait;
  QString uuid, problem;
  QObject::connect(&store, &RunStore::runAdded, &wait, [&](const QString& added) {
    uuid = added;
    wait.quit();
  });
  QObject::connect(&store, &RunStore::openFailed, &wait, [&](const QString&, const Failure& failure) {
    problem = failure.message;
    wait.quit();
  });
  store.openPath(request.run);
  QTimer::singleShot(60'000, &wait, &QEventLoop::quit);
  wait.exec();
  QCoreApplication::processEvents();
  const Run* run = store.run(uuid);
  if (!problem.isEmpty() || !run || !run->problem.isEmpty()) return refuse(problem.isEmpty() ? QObject::tr("%1 could not be read").arg(request.run) : problem, 1);
  GatesPage gates(&client, &store, &workspace, &selection);
  RecallMap map;
  PlanStrip strip;
  workspace.setCurrentRun(uuid);
  // Pages fill their views a moment after the run changed.
  gates.resize(1280, 800);
  spin(400);
  const View* view = nullptr;
  if (request.view == u"gates") view = gates.rows();
  if (request.view == u"lines") view = gates.lines();
  const QStringList charts = {QStringLiteral("loss"), QStringLiteral("penalty"), QStringLiteral("mean"), QStringLiteral("error")};
  if (charts.contains(request.view)) view = gates.chart(static_cast<int>(charts.indexOf(request.view)));
  std::optional<LayerPlan> plan;
  try {
    if (!request.plan.isEmpty())
      plan = LayerPlan::parse(request.plan.toStdString());
    else if (!(plan = currentPlan(*run, workspace)) && !run->record.plans.empty())
      plan = run->record.plans.front().plan;
  } catch (const std::exception& error) {
    return refuse(QStringLiteral("--plan: %1").arg(QString::fromUtf8(error.what())), 2);
  }
  if (request.view == u"plan") {
    if (!plan) return refuse(QObject::tr("%1 has no plan: give --plan").arg(request.run), 1);
    strip.setData(*plan);
    view = &strip;
  }
  if (request.view == u"recall") {
    const std::vector<EvalSet> sets = store.evalSets(uuid);
    if (sets.empty() || !plan) return refuse(QObject::tr("%1 has no evaluation").arg(request.run), 1);
    const QString set = request.set.isEmpty() ? QString::fromStdString(sets.front().name) : request.set;
    const RecallGrid* grid = store.grid(uuid, set, *plan);
    if (!grid && request.plan.isEmpty())
      for (const LayerPlan& known : store.evaluatedPlans(uuid, set))
        if (!grid) grid = store.grid(uuid, set, known);
    if (!grid) return refuse(QObject::tr("plan %1 is not evaluated on %2 in this run").arg(QString::fromStdString(plan->to_string()), set), 1);
    map.setData(std::make_shared<const RecallGrid>(*grid));
    view = &map;
  }
  QString why;
  const bool ok = ending == u"csv" || ending == u"json" ? writeTable(view->table(), request.file, &why) : writePicture(*view, request, &why);
  return ok ? 0 : refuse(QStringLiteral("%1: %2").arg(request.file, why), 1);
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
