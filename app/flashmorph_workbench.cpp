// SPDX-License-Identifier: GPL-3.0-or-later
// The workbench: the window, or one picture of a view without a display.
#include <cstdio>

#include <QApplication>
#include <QCommandLineParser>
#include <QFileInfo>
#include <QIcon>
#include <QStandardPaths>
#include <QTimer>

#include "flashmorph_version.h"
#include "widgets/pages/run_export.h"
#include "widgets/shell/headless.h"
#include "widgets/shell/main_window.h"
#include "widgets/shell/theme.h"
#include "widgets/state/run_store.h"
#include "widgets/state/selection.h"
#include "widgets/state/workspace.h"

using namespace flashmorph;

int main(int argc, char** argv) {
  // Pictures need no display.
  for (int i = 1; i < argc; ++i)
    if ((qstrcmp(argv[i], "--export") == 0 || qstrcmp(argv[i], "--screenshot") == 0) && !qEnvironmentVariableIsSet("QT_QPA_PLATFORM"))
      qputenv("QT_QPA_PLATFORM", "offscreen");
  QApplication app(argc, argv);
  QApplication::setApplicationName(QStringLiteral("flashmorph-workbench"));
  QApplication::setApplicationDisplayName(QStringLiteral("FlashMorph Workbench"));
  QApplication::setApplicationVersion(QStringLiteral(FLASHMORPH_VERSION));
  QApplication::setOrganizationName(QStringLiteral("flashmorph"));
  QGuiApplication::setDesktopFileName(QStringLiteral("org.flashmorph.Workbench"));
  QApplication::setWindowIcon(QIcon::fromTheme(QStringLiteral("org.flashmorph.Workbench"), QIcon(QStringLiteral(":/icons/org.flashmorph.Workbench.svg"))));

  QCommandLineParser parser;
  parser.setApplicationDescription(QStringLiteral("Train gates, choose layers, compare and export hybrids of full and linear attention."));
  parser.addHelpOption();
  parser.addVersionOption();
  const QCommandLineOption replay(QStringLiteral("replay"), QStringLiteral("Plays a recorded session."), QStringLiteral("FILE"));
  const QCommandLineOption speed(QStringLiteral("speed"), QStringLiteral("Speed of the replay; 0: as fast as it can be shown."), QStringLiteral("FACTOR"), QStringLiteral("1"));
  const QCommandLineOption engine(QStringLiteral("engine"), QStringLiteral("Engine program or command line."), QStringLiteral("COMMAND"));
  const QCommandLineOption noEngine(QStringLiteral("no-engine"), QStringLiteral("Starts no engine: files can be viewed."));
  const QCommandLineOption exporting(QStringLiteral("export"), QStringLiteral("Writes a picture or table of a view of the run given: %1.").arg(exportViewNames().join(QStringLiteral(", "))), QStringLiteral("VIEW"));
  const QCommandLineOption screenshot(QStringLiteral("screenshot"), QStringLiteral("Writes a picture of a page: %1.").arg(MainWindow::pageNames().join(QStringLiteral(", "))), QStringLiteral("PAGE"));
  const QCommandLineOption out({QStringLiteral("o"), QStringLiteral("output")}, QStringLiteral("File: .png, .svg, .csv or .json."), QStringLiteral("FILE"));
  const QCommandLineOption scale(QStringLiteral("scale"), QStringLiteral("1 to 4, of PNG."), QStringLiteral("N"), QStringLiteral("1"));
  const QCommandLineOption size(QStringLiteral("size"), QStringLiteral("Width x height in pixels."), QStringLiteral("WxH"));
  const QCommandLineOption theme(QStringLiteral("theme"), QStringLiteral("light, dark or system."), QStringLiteral("NAME"));
  const QCommandLineOption set(QStringLiteral("set"), QStringLiteral("Eval set of a recall view."), QStringLiteral("NAME"));
  const QCommandLineOption plan(QStringLiteral("plan"), QStringLiteral("Plan of a recall view, as 28:1,11-14."), QStringLiteral("PLAN"));
  const QCommandLineOption colors(QStringLiteral("colors"), QStringLiteral("cividis, viridis or red-yellow-green."), QStringLiteral("NAME"));
  const QCommandLineOption budget(QStringLiteral("budget"), QStringLiteral("K of a select or strip view."), QStringLiteral("K"));
  const QCommandLineOption demo(QStringLiteral("demo"), QStringLiteral("Opens the bundled demo."));
  parser.addOptions({replay, speed, engine, noEngine, exporting, screenshot, out, scale, size, theme, set, plan, colors, budget, demo});
  parser.addPositionalArgument(QStringLiteral("paths"), QStringLiteral("Runs, recordings or model folders."), QStringLiteral("[paths…]"));
  parser.process(app);

  if (parser.isSet(exporting)) {
    RunExport request;
    request.view = parser.value(exporting);
    request.run = parser.positionalArguments().value(0);
    request.file = parser.value(out);
    request.scale = parser.value(scale).toDouble();
    request.size = sizeOf(parser.value(size));
    request.plan = parser.value(plan);
    request.set = parser.value(set);
    request.colors = parser.value(colors);
    bool ok = false;
    if (const int K = parser.value(budget).toInt(&ok); ok) request.budget = K;
    const QString why = request.run.isEmpty() || request.file.isEmpty() ? QStringLiteral("--export VIEW RUN -o FILE: run or file is missing") : exportRun(request);
    if (why.isEmpty()) return 0;
    std::fprintf(stderr, "flashmorph-workbench: %s\n", qUtf8Printable(why));
    return request.run.isEmpty() || request.file.isEmpty() ? 2 : 1;
  }

  const bool picture = parser.isSet(screenshot);
  const QString state = picture ? QString() : QStandardPaths::writableLocation(QStandardPaths::AppDataLocation) + QStringLiteral("/workspace.json");
  EngineClient client;
  RunStore store(&client);
  Workspace workspace(state);
  Selection selection;
  Theme themes;
  const bool restored = workspace.load();
  themes.choose(themeOf(parser.isSet(theme) ? parser.value(theme) : workspace.view(QStringLiteral("window/theme")).toString()));
  MainWindow window(&client, &store, &workspace, &selection, &themes);
  if (parser.isSet(engine)) workspace.setView(QStringLiteral("engine/command"), parser.value(engine));
  if (const QSize wanted = sizeOf(parser.value(size)); wanted.isValid()) window.resize(wanted);
  window.show();

  QTimer::singleShot(0, &window, [&] {
    if (parser.isSet(replay))
      window.openReplay(parser.value(replay), parser.value(speed).toDouble());
    else if (!parser.isSet(noEngine) && (!picture || parser.isSet(engine)))
      window.startEngine();
    if (parser.isSet(demo)) window.openDemo();
    for (const QString& path : parser.positionalArguments()) window.openPath(path);
    // What was open last time is opened again.
    if (restored && parser.positionalArguments().isEmpty())
      for (const QString& path : workspace.recentRuns())
        if (QFileInfo::exists(path)) store.openPath(path);
  });
  if (picture) return takeScreenshot(window, parser.value(screenshot), parser.value(out), store, workspace);
  return QApplication::exec();
}
