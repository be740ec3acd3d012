// SPDX-License-Identifier: GPL-3.0-or-later
// The commands of the window: menus with their keys, and what the smaller ones do.
#include <QActionGroup>
#include <QApplication>
#include <QClipboard>
#include <QFileDialog>
#include <QLabel>
#include <QMenu>
#include <QMenuBar>
#include <QMessageBox>
#include <QStackedWidget>
#include <QStatusBar>
#include <QUndoStack>

#include "widgets/docks/inspector_dock.h"
#include "widgets/docks/jobs_dock.h"
#include "widgets/docks/log_dock.h"
#include "widgets/docks/runs_dock.h"
#include "widgets/pages/view_export.h"
#include "widgets/shell/command_palette.h"
#include "widgets/shell/main_window.h"
#include "widgets/shell/resources_folder.h"
#include "widgets/shell/theme.h"
#include "widgets/state/run_store.h"
#include "widgets/state/selection.h"
#include "widgets/state/workspace.h"
#include "widgets/views/view.h"

namespace flashmorph {

using nlohmann::json;

QAction* MainWindow::addCommand(QMenu* menu, const QString& text, const QKeySequence& keys, std::function<void()> run) {
  QAction* action = menu->addAction(text);
  action->setObjectName(QStringLiteral("action_") + QString(text).remove(u'&').remove(u'…').replace(u' ', u'_').toLower());
  action->setShortcut(keys);
  connect(action, &QAction::triggered, this, std::move(run));
  return action;
}

void MainWindow::makeMenus() {
  QMenu* file = menuBar()->addMenu(tr("&File"));
  addCommand(file, tr("&Open run…"), QKeySequence::Open, [this] {
    const QString path = QFileDialog::getOpenFileName(this, tr("Open run"), m_client->info().runs, tr("Runs and recordings (*.fmrun *.jsonl)"));
    if (!path.isEmpty()) openPath(path);
  });
  addCommand(file, tr("Open folder of &runs…"), {}, [this] {
    const QString path = QFileDialog::getExistingDirectory(this, tr("Open folder of runs"), m_client->info().runs);
    if (!path.isEmpty()) m_store->openFolder(path);
  });
  addCommand(file, tr("Choose &model…"), {}, [this] {
    const QString path = QFileDialog::getExistingDirectory(this, tr("Choose model folder"));
    if (!path.isEmpty()) openPath(path);
  });
  m_recent = file->addMenu(tr("Open re&cent"));
  file->addSeparator();
  addCommand(file, tr("Open &demo"), {}, [this] { openDemo(); });
  addCommand(file, tr("&Replay a recording…"), {}, [this] {
    const QString path = QFileDialog::getOpenFileName(this, tr("Replay"), resourcesFolder(), tr("Recordings (*.jsonl)"));
    if (!path.isEmpty()) openReplay(path);
  });
  file->addSeparator();
  addCommand(file, tr("&Export view…"), QKeySequence(Qt::CTRL | Qt::Key_E), [this] { exportView(); });
  file->addSeparator();
  addCommand(file, tr("&Quit"), QKeySequence::Quit, [this] { close(); });

  QMenu* edit = menuBar()->addMenu(tr("&Edit"));
  QAction* undo = m_workspace->undoStack()->createUndoAction(this, tr("&Undo"));
  undo->setShortcut(QKeySequence::Undo);
  undo->setObjectName(QStringLiteral("action_undo"));
  edit->addAction(undo);
  QAction* redo = m_workspace->undoStack()->createRedoAction(this, tr("&Redo"));
  redo->setShortcuts({QKeySequence(Qt::CTRL | Qt::SHIFT | Qt::Key_Z), QKeySequence(Qt::CTRL | Qt::Key_Y)});
  redo->setObjectName(QStringLiteral("action_redo"));
  edit->addAction(redo);
  edit->addSeparator();
  addCommand(edit, tr("Clear &selection"), {}, [this] { m_selection->clear(); });
  addCommand(edit, tr("Copy as &command line"), QKeySequence(Qt::CTRL | Qt::SHIFT | Qt::Key_C), [this] {
    // The page in front knows the launch it stands for; a run else tells how it was made.
    QString line;
    if (QWidget* page = m_stack->currentWidget()) QMetaObject::invokeMethod(page, "commandLine", Qt::DirectConnection, Q_RETURN_ARG(QString, line));
    if (line.isEmpty())
      if (const Run* run = m_store->run(m_workspace->currentRun()); run && run->record.provenance.is_object() && run->record.provenance.contains("command") && run->record.provenance["command"].is_string())
        line = QString::fromStdString(run->record.provenance["command"].get<std::string>());
    if (!line.isEmpty()) QApplication::clipboard()->setText(line);
    statusBar()->showMessage(line.isEmpty() ? tr("This page starts nothing") : tr("Copied: %1").arg(line), 6000);
  });

  QMenu* view = menuBar()->addMenu(tr("&View"));
  for (QAction* action : m_pageActions->actions()) view->addAction(action);
  view->addSeparator();
  for (QDockWidget* dock : std::initializer_list<QDockWidget*>{m_runs, m_inspector, m_jobs, m_log}) view->addAction(dock->toggleViewAction());
  addCommand(view, tr("Reset &layout"), {}, [this] { resetLayout(); });
  view->addSeparator();
  QMenu* themes = view->addMenu(tr("&Theme"));
  auto* group = new QActionGroup(this);
  for (const auto& [choice, text] : {std::pair{ThemeChoice::system, tr("As the &system")}, {ThemeChoice::light, tr("&Light")}, {ThemeChoice::dark, tr("&Dark")}}) {
    QAction* action = themes->addAction(text);
    action->setCheckable(true);
    action->setChecked(m_theme && m_theme->choice() == choice);
    action->setObjectName(QStringLiteral("theme_") + themeText(choice));
    group->addAction(action);
    connect(action, &QAction::triggered, this, [this, choice = choice] {
      if (m_theme) m_theme->choose(choice);
      m_workspace->setView(QStringLiteral("window/theme"), themeText(choice));
    });
  }

  QMenu* run = menuBar()->addMenu(tr("&Run"));
  addCommand(run, tr("&New run…"), QKeySequence::New, [this] { showPage(QStringLiteral("setup")); });
  addCommand(run, tr("&Launch"), QKeySequence(Qt::CTRL | Qt::Key_Return), [this] {
    if (QWidget* page = m_stack->currentWidget()) QMetaObject::invokeMethod(page, "launch", Qt::DirectConnection);
  });
  addCommand(run, tr("&Cancel running job"), QKeySequence(Qt::CTRL | Qt::Key_Period), [this] {
    if (const Job* job = m_store->jobs()->active()) m_store->jobs()->cancel(job->id);
  });
  addCommand(run, tr("&Resume the current run"), {}, [this] {
    const Run* current = m_store->run(m_workspace->currentRun());
    if (current && current->canResume()) return resumeRun(current->uuid);
    statusBar()->showMessage(current ? tr("Nothing to resume: this run is %1").arg(current->stateText()) : tr("No run is chosen"), 6000);
  });
  addCommand(run, tr("&Pin or unpin"), {}, [this] {
    const QString uuid = m_workspace->currentRun();
    if (!uuid.isEmpty()) m_workspace->setPinned(uuid, !m_workspace->isPinned(uuid));
  });
  addCommand(run, tr("Make it the &baseline"), {}, [this] { m_workspace->setBaseline(m_workspace->currentRun()); });

  QMenu* tools = menuBar()->addMenu(tr("&Tools"));
  addCommand(tools, tr("&Commands…"), QKeySequence(Qt::CTRL | Qt::SHIFT | Qt::Key_P), [this] {
    CommandPalette palette(commands(), this);
    palette.exec();
  });
  tools->addSeparator();
  addCommand(tools, tr("&Start engine"), {}, [this] {
    m_client->startEngine(m_workspace->view(QStringLiteral("engine/command")).toString());
  });
  addCommand(tools, tr("St&op engine"), {}, [this] { m_client->stopEngine(); });
  addCommand(tools, tr("&Engine command…"), {}, [this] { chooseEngine(); });
  addCommand(tools, tr("&Unload model"), {}, [this] {
    m_client->call(QStringLiteral("model.unload"), json::object(), this, [this](const Reply& reply) {
      if (!reply.ok) m_banners->add(reply.failure, Banner::Level::warning);
    });
  });
  addCommand(tools, tr("&Refresh runs"), QKeySequence::Refresh, [this] { m_store->refreshFromEngine(); });

  QMenu* help = menuBar()->addMenu(tr("&Help"));
  addCommand(help, tr("&Keys"), QKeySequence::HelpContents, [this] { showKeys(); });
  addCommand(help, tr("&About"), {}, [this] { about(); });
  for (QMenu* menu : menuBar()->findChildren<QMenu*>()) menu->setAccessibleName(menu->title().remove(u'&'));
  menuBar()->setAccessibleName(tr("Menu"));
  m_engineTop = new QLabel(menuBar());
  m_engineTop->setObjectName(QStringLiteral("engineTop"));
  m_engineTop->setAccessibleName(tr("Engine"));
  m_engineTop->setContentsMargins(8, 2, 10, 2);
  menuBar()->setCornerWidget(m_engineTop);
}

QList<QAction*> MainWindow::commands() const {
  QList<QAction*> all;
  for (QAction* action : findChildren<QAction*>())
    if (!action->text().isEmpty() && !action->menu() && !action->isSeparator()) all << action;
  return all;
}

void MainWindow::refreshRecent() {
  m_recent->clear();
  m_recent->setObjectName(QStringLiteral("recentMenu"));
  for (const QString& path : m_workspace->recentRuns() + m_workspace->recentModels()) m_recent->addAction(path, this, [this, path] { openPath(path); });
  if (m_recent->isEmpty()) m_recent->addAction(tr("Nothing yet"))->setEnabled(false);
}

// The view with the focus, else the first of the page that shows anything.
void MainWindow::exportView() {
  auto* chosen = qobject_cast<View*>(QApplication::focusWidget());
  QWidget* page = m_stack->currentWidget();
  if (!chosen && page)
    for (View* view : page->findChildren<View*>())
      if (!chosen && view->isVisible() && !view->table().rows.empty()) chosen = view;
  if (!chosen) return statusBar()->showMessage(tr("This page shows no view to export"), 6000);
  askAndExport(*chosen, this);
}

void MainWindow::showKeys() {
  QMessageBox box(QMessageBox::NoIcon, tr("Keys"),
                  tr("<table cellpadding=3>"
                     "<tr><td>Ctrl+1 … 7</td><td>pages</td></tr><tr><td>Ctrl+Shift+P</td><td>commands</td></tr>"
                     "<tr><td>Left, Right, Home, End</td><td>budget K</td></tr><tr><td>F L U</td><td>lock selected layers full, linear, free</td></tr>"
                     "<tr><td>E</td><td>evaluate</td></tr><tr><td>C, W, D, B</td><td>to compare, swap, difference, baseline</td></tr>"
                     "<tr><td>Space</td><td>follow or freeze</td></tr><tr><td>Ctrl+C, Ctrl+Shift+C</td><td>copy value or table, copy as command line</td></tr>"
                     "<tr><td>Ctrl+E</td><td>export the view with the focus</td></tr><tr><td>+ - 0</td><td>zoom the recall maps</td></tr><tr><td>Ctrl+Return, Ctrl+.</td><td>launch, cancel</td></tr>"
                     "<tr><td>Ctrl+Z, Ctrl+Shift+Z</td><td>undo, redo</td></tr></table>"
                     "<p>Single letters act with the focus in a chart, grid or list.</p>"),
                  QMessageBox::Close, this);
  box.exec();
}

void MainWindow::about() {
  QMessageBox::about(this, tr("About"),
                     tr("<b>FlashMorph Workbench %1</b><p>From a pretrained decoder to a hybrid of full and linear attention: train gates, choose layers, compare, distill, export."
                        "<p>Window: GPL-3.0-or-later. Engine: Apache-2.0.<br>Qt %2, engine %3")
                         .arg(QApplication::applicationVersion(), QString::fromLatin1(qVersion()), m_client->info().engine.isEmpty() ? tr("not connected") : m_client->info().engine));
}

}  // namespace flashmorph
