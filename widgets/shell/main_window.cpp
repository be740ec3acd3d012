// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/shell/main_window.h"

#include <cmath>

#include <QActionGroup>
#include <QApplication>
#include <QClipboard>
#include <QCloseEvent>
#include <QDragEnterEvent>
#include <QFileDialog>
#include <QFileInfo>
#include <QInputDialog>
#include <QLabel>
#include <QMenuBar>
#include <QMessageBox>
#include <QMimeData>
#include <QScrollArea>
#include <QStackedWidget>
#include <QStatusBar>
#include <QToolBar>
#include <QToolButton>
#include <QVBoxLayout>

#include "widgets/client/replay.h"
#include "widgets/docks/inspector_dock.h"
#include "widgets/docks/jobs_dock.h"
#include "widgets/docks/log_dock.h"
#include "widgets/docks/runs_dock.h"
#include "widgets/format/format.h"
#include "widgets/pages/compare_page.h"
#include "widgets/pages/distill_page.h"
#include "widgets/pages/export_page.h"
#include "widgets/pages/gates_page.h"
#include "widgets/pages/select_page.h"
#include "widgets/pages/setup_page.h"
#include "widgets/pages/start_page.h"
#include "widgets/pages/view_export.h"
#include "widgets/shell/command_palette.h"
#include "widgets/shell/resources_folder.h"
#include "widgets/shell/theme.h"
#include "widgets/state/run_store.h"
#include "widgets/state/selection.h"
#include "widgets/state/workspace.h"
#include "widgets/views/view.h"

namespace flashmorph {

using nlohmann::json;

const QStringList& MainWindow::pageNames() {
  static const QStringList names = {QStringLiteral("start"),   QStringLiteral("setup"),   QStringLiteral("gates"), QStringLiteral("select"),
                                    QStringLiteral("compare"), QStringLiteral("distill"), QStringLiteral("export")};
  return names;
}

MainWindow::MainWindow(EngineClient* client, RunStore* store, Workspace* workspace, Selection* selection, Theme* theme, QWidget* parent)
    : QMainWindow(parent), m_client(client), m_store(store), m_workspace(workspace), m_selection(selection), m_theme(theme) {
  setObjectName(QStringLiteral("mainWindow"));
  setWindowTitle(tr("FlashMorph Workbench"));
  setAccessibleName(windowTitle());
  setAcceptDrops(true);
  setDockNestingEnabled(true);
  setTabPosition(Qt::BottomDockWidgetArea, QTabWidget::North);
  makePages();
  makeDocks();
  makeMenus();
  makeStatus();
  connect(client, &EngineClient::failed, this, &MainWindow::engineFailed);
  connect(client, &EngineClient::connectionChanged, this, &MainWindow::engineChanged);
  connect(client, &EngineClient::heartbeat, this, [this](const HeartbeatEvent& beat) {
    m_beat = beat;
    m_hasBeat = true;
  });
  connect(client, &EngineClient::modelStateChanged, this, [this](const ModelStateEvent& e) {
    m_model = e.state == "unloaded" ? QString() : QFileInfo(QString::fromStdString(e.model)).fileName() + (e.state == "loading" ? tr(" (loading)") : tr(" loaded"));
    refreshStatus();
  });
  connect(client, &EngineClient::jobStateChanged, this, [this](const JobStateEvent& e) {
    if (e.state != "failed" || !e.error) return;
    Failure failure{QString::fromStdString(e.error->stage), QString::fromStdString(e.error->message), QString::fromStdString(e.error->hint), e.error->code,
                    m_client->outputTail(), QString::fromStdString(e.job)};
    engineFailed(failure);
  });
  connect(store->jobs(), &JobList::jobChanged, this, [this](const QString& id) {
    const Job* job = m_store->jobs()->find(id);
    if (!job || !job->isActive() || job->kind == u"eval") return;
    if (const Run* run = m_store->runOfHandle(job->run)) m_lost = {run->uuid, run->record.steps.step.empty() ? job->step : run->record.steps.step.back()};
  });
  connect(store->jobs(), &JobList::jobEnded, this, [this](const QString& id) {
    const Job* job = m_store->jobs()->find(id);
    // Ended by itself: nothing was lost. An engine that is gone leaves its job to be resumed.
    if (job && m_client->isReady()) m_lost = {};
  });
  connect(store, &RunStore::openFailed, this, [this](const QString&, const Failure& failure) { m_banners->add(failure, Banner::Level::warning); });
  connect(store, &RunStore::runAdded, this, [this](const QString& uuid) {
    const Run* run = m_store->run(uuid);
    if (run && run->problem.isEmpty() && m_store->run(m_workspace->currentRun()) == nullptr) m_workspace->setCurrentRun(uuid);
  });
  connect(workspace, &Workspace::restored, this, &MainWindow::restoreWindow);
  connect(workspace, &Workspace::recentChanged, this, &MainWindow::refreshRecent);
  m_status.setInterval(500);
  connect(&m_status, &QTimer::timeout, this, &MainWindow::refreshStatus);
  m_status.start();
  resize(1280, 800);
  resetLayout();
  refreshRecent();
  refreshStatus();
  restoreWindow();
}

MainWindow::~MainWindow() = default;

void MainWindow::addPage(const QString& name, const QString& title, QWidget* page) {
  page->setObjectName(name + QStringLiteral("Page"));
  page->setAccessibleName(title);
  m_pages[name] = page;
  m_stack->addWidget(page);
  const int number = static_cast<int>(m_pages.size());
  auto* action = new QAction(QStringLiteral("%1 %2").arg(number).arg(title), this);
  action->setObjectName(QStringLiteral("page_") + name);
  action->setCheckable(true);
  action->setData(name);
  action->setShortcut(QKeySequence(Qt::CTRL | static_cast<Qt::Key>(Qt::Key_0 + number)));
  action->setToolTip(QStringLiteral("%1 (Ctrl+%2)").arg(title).arg(number));
  m_pageActions->addAction(action);
  m_row->addAction(action);
  if (QWidget* button = m_row->widgetForAction(action)) {
    button->setObjectName(QStringLiteral("pageButton_") + name);
    button->setAccessibleName(tr("Page %1").arg(title));
    button->setFocusPolicy(Qt::TabFocus);
  }
  connect(action, &QAction::triggered, this, [this, name] { showPage(name); });
}

void MainWindow::makePages() {
  m_row = new QToolBar(tr("Pages"), this);
  m_row->setObjectName(QStringLiteral("pagesRow"));
  m_row->setAccessibleName(tr("Pages"));
  m_row->setMovable(false);
  m_row->setFloatable(false);
  m_row->toggleViewAction()->setEnabled(false);
  m_row->toggleViewAction()->setVisible(false);
  addToolBar(Qt::TopToolBarArea, m_row);
  m_pageActions = new QActionGroup(this);
  auto* center = new QWidget(this);
  auto* layout = new QVBoxLayout(center);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(0);
  m_banners = new BannerStack(center);
  m_stack = new QStackedWidget(center);
  m_stack->setObjectName(QStringLiteral("pages"));
  layout->addWidget(m_banners);
  layout->addWidget(m_stack, 1);
  setCentralWidget(center);
  auto* start = new StartPage(m_client, m_store, m_workspace, m_selection, this);
  auto* setup = new SetupPage(m_client, m_store, m_workspace, m_selection, this);
  auto* gates = new GatesPage(m_client, m_store, m_workspace, m_selection, this);
  auto* distill = new DistillPage(m_client, m_store, m_workspace, m_selection, this);
  auto* select = new SelectPage(m_client, m_store, m_workspace, m_selection, this);
  addPage(QStringLiteral("start"), tr("Start"), start);
  addPage(QStringLiteral("setup"), tr("Setup"), setup);
  addPage(QStringLiteral("gates"), tr("Gates"), gates);
  addPage(QStringLiteral("select"), tr("Select"), select);
  addPage(QStringLiteral("compare"), tr("Compare"), new ComparePage(m_client, m_store, m_workspace, m_selection, this));
  addPage(QStringLiteral("distill"), tr("Distill"), distill);
  addPage(QStringLiteral("export"), tr("Export"), new ExportPage(m_client, m_store, m_workspace, m_selection, this));
  connect(gates, &GatesPage::trainRequested, this, [this] { showPage(QStringLiteral("setup")); });
  connect(gates, &GatesPage::resumeRequested, this, &MainWindow::resumeRun);
  connect(distill, &DistillPage::resumeRequested, this, &MainWindow::resumeRun);
  connect(select, &SelectPage::compareRequested, this, [this] { statusBar()->showMessage(tr("Added to Compare (Ctrl+5)"), 4000); });
  connect(select, &SelectPage::demoRequested, this, &MainWindow::openDemo);
  connect(start, &StartPage::openAsked, this, &MainWindow::openPath);
  connect(start, &StartPage::demoAsked, this, &MainWindow::openDemo);
  connect(start, &StartPage::replayAsked, this, [this](const QString& path) { openReplay(path); });
  connect(setup, &SetupPage::launched, this, [this] { showPage(QStringLiteral("gates")); });
  showPage(QStringLiteral("start"));
}

void MainWindow::showPage(const QString& name) {
  QWidget* page = m_pages.value(name);
  if (!page) return;
  m_stack->setCurrentWidget(page);
  for (QAction* action : m_pageActions->actions()) action->setChecked(action->data().toString() == name);
  m_workspace->setView(QStringLiteral("window/page"), name);
}

QString MainWindow::currentPage() const {
  for (auto it = m_pages.begin(); it != m_pages.end(); ++it)
    if (it.value() == m_stack->currentWidget()) return it.key();
  return {};
}

void MainWindow::makeDocks() {
  m_runs = new RunsDock(m_store, m_workspace, this);
  m_inspector = new InspectorDock(m_store, m_workspace, m_selection, this);
  m_jobs = new JobsDock(m_client, m_store->jobs(), this);
  m_log = new LogDock(m_client, this);
  connect(m_jobs, &JobsDock::resumeAsked, this, [this](const QString& id) {
    const Job* job = m_store->jobs()->find(id);
    const Run* run = job ? m_store->runOfHandle(job->run) : nullptr;
    if (run) resumeRun(run->uuid);
  });
  connect(m_runs, &RunsDock::resumeAsked, this, &MainWindow::resumeRun);
  connect(m_runs, &RunsDock::compareAsked, this, [this](const QString& uuid) {
    const Run* run = m_store->run(uuid);
    if (!run || run->record.plans.empty()) return;
    CompareSlot slot;
    slot.run = uuid;
    slot.plan = QString::fromStdString(run->record.plans.front().plan.to_string());
    slot.label = run->displayName();
    m_workspace->addToCompare(slot);
    showPage(QStringLiteral("compare"));
  });
}

void MainWindow::resetLayout() {
  for (QDockWidget* dock : std::initializer_list<QDockWidget*>{m_runs, m_inspector, m_jobs, m_log}) {
    removeDockWidget(dock);
    dock->setFloating(false);
  }
  setCorner(Qt::BottomLeftCorner, Qt::BottomDockWidgetArea);
  setCorner(Qt::BottomRightCorner, Qt::BottomDockWidgetArea);
  addDockWidget(Qt::LeftDockWidgetArea, m_runs);
  addDockWidget(Qt::RightDockWidgetArea, m_inspector);
  addDockWidget(Qt::BottomDockWidgetArea, m_jobs);
  addDockWidget(Qt::BottomDockWidgetArea, m_log);
  for (QDockWidget* dock : std::initializer_list<QDockWidget*>{m_runs, m_inspector, m_jobs, m_log}) dock->show();
  resizeDocks({m_runs, m_inspector}, {300, 220}, Qt::Horizontal);
  resizeDocks({m_jobs, m_log}, {700, 580}, Qt::Horizontal);
  resizeDocks({m_jobs, m_log}, {110, 110}, Qt::Vertical);
  m_row->show();
}

void MainWindow::makeStatus() {
  const auto label = [this](const char* name, const QString& accessible) {
    auto* l = new QLabel(this);
    l->setObjectName(QLatin1String(name));
    l->setAccessibleName(accessible);
    l->setContentsMargins(6, 0, 6, 0);
    statusBar()->addWidget(l);
    return l;
  };
  statusBar()->setSizeGripEnabled(false);
  m_alive = label("statusAlive", tr("Engine alive"));
  m_speed = label("statusSpeed", tr("Speed"));
  m_memory = label("statusMemory", tr("Memory"));
  m_cells = label("statusCells", tr("Work done"));
}

void MainWindow::refreshStatus() {
  const EngineState state = m_client->state();
  QString top = engineStateText(state);
  if (m_client->isReplay())
    top = tr("replay of %1").arg(QFileInfo(m_client->where()).fileName());
  else if (m_client->isReady()) {
    const auto& devices = m_client->info().devices;
    top = QStringLiteral("%1 %2").arg(m_client->host().isEmpty() ? tr("local") : m_client->host(), devices.isEmpty() ? QString() : devices.first().id);
    if (state == EngineState::notResponding) top += tr(", not responding");
    top += QStringLiteral(", ") + (m_model.isEmpty() ? tr("no model loaded") : m_model);
  } else if (state == EngineState::absent || state == EngineState::missing || state == EngineState::lost) {
    top = state == EngineState::absent ? tr("no engine") : tr("engine %1").arg(top);
  }
  if (m_engineTop->text() != top) {
    m_engineTop->setText(top);
    m_engineTop->setToolTip(m_client->where());
    m_engineTop->adjustSize();
    menuBar()->setCornerWidget(m_engineTop);
  }
  if (m_client->isReplay())
    m_alive->setText(m_replay ? tr("replay %1 of %2").arg(m_replay->position()).arg(m_replay->size()) : tr("replay"));
  else if (m_client->isReady())
    m_alive->setText(tr("alive %1 s").arg(m_client->silence_s(), 0, 'f', 1));
  else
    m_alive->setText(state == EngineState::absent ? tr("no engine") : tr("engine %1").arg(engineStateText(state)));
  const Job* job = m_store->jobs()->active();
  m_speed->setText(job && std::isfinite(job->tokensPerSecond) ? format::tokenRate(job->tokensPerSecond) : QString());
  m_cells->setText(job && job->total > 0 ? tr("%1 of %2 %3").arg(job->done).arg(job->total).arg(job->what) : QString());
  QString memory;
  if (m_hasBeat && m_client->isReady()) {
    qint64 total = 0;
    for (const auto& device : m_client->info().devices)
      if (device.id.startsWith(u"cuda")) total = device.totalBytes;
    if (m_beat.gpu_used_bytes)
      memory = total > 0 ? tr("GPU %1 of %2").arg(format::bytes(static_cast<double>(*m_beat.gpu_used_bytes)), format::bytes(static_cast<double>(total)))
                         : tr("GPU %1").arg(format::bytes(static_cast<double>(*m_beat.gpu_used_bytes)));
    else
      memory = tr("memory %1").arg(format::bytes(static_cast<double>(m_beat.rss_bytes)));
    if (!m_beat.job.empty() && m_beat.worker_age_s > 5) memory += tr("  worker silent %1 s").arg(m_beat.worker_age_s, 0, 'f', 0);
  }
  m_memory->setText(memory);
}

void MainWindow::openPath(const QString& path) {
  const QFileInfo info(path);
  if (path.endsWith(u".jsonl")) return openReplay(path);
  if (!info.exists()) {
    m_banners->add({tr("open"), tr("%1 is not there").arg(path), tr("it stays among the recent ones"), 0, {}, {}}, Banner::Level::warning);
    return;
  }
  const bool model = (info.isDir() && QFileInfo::exists(path + QStringLiteral("/config.json"))) || path.endsWith(u".gguf");
  if (model) {
    m_workspace->addRecentModel(info.absoluteFilePath());
    static_cast<SetupPage*>(page(QStringLiteral("setup")))->setModel(info.absoluteFilePath());
    startEngine();
    return showPage(QStringLiteral("setup"));
  }
  if (info.isDir() && !QFileInfo::exists(path + QStringLiteral("/run.fmrun"))) return m_store->openFolder(path);
  m_workspace->addRecentRun(info.absoluteFilePath());
  // The run comes in front as soon as it is read.
  const QString absolute = info.absoluteFilePath();
  auto* wait = new QObject(this);
  const auto arrived = [this, wait, absolute](const QString&) {
    const Run* run = m_store->runOfPath(absolute);
    if (!run) return;
    m_workspace->setCurrentRun(run->uuid);
    if (run->problem.isEmpty()) showPage(run->record.evals.empty() && run->record.kind == "align" ? QStringLiteral("gates") : run->hasScore() ? QStringLiteral("select") : QStringLiteral("gates"));
    wait->deleteLater();
  };
  connect(m_store, &RunStore::runAdded, wait, arrived);
  connect(m_store, &RunStore::runChanged, wait, arrived);
  m_store->openPath(path);
}

void MainWindow::openReplay(const QString& path, double speed) {
  auto transport = std::make_unique<ReplayTransport>(path, speed);
  m_replay = transport.get();
  connect(m_replay, &ReplayTransport::finished, this, [this] { m_log->add(tr("the recording is at its end")); });
  // The first run of the recording comes in front.
  m_workspace->setCurrentRun({});
  m_client->connectTo(std::move(transport));
  showPage(QStringLiteral("gates"));
}

void MainWindow::openDemo() {
  const QString resources = resourcesFolder();
  if (resources.isEmpty()) {
    m_banners->add({tr("demo"), tr("the demo's files are not installed"), tr("set FLASHMORPH_RESOURCES to the folder resources/ of the source"), 0, {}, {}}, Banner::Level::warning);
    return;
  }
  static_cast<SetupPage*>(page(QStringLiteral("setup")))->loadDemo(resources);
  startEngine();
  showPage(QStringLiteral("setup"));
}

void MainWindow::startEngine() {
  if (m_client->state() == EngineState::absent || m_client->state() == EngineState::lost || m_client->state() == EngineState::missing || m_client->isReplay())
    m_client->startEngine(m_workspace->view(QStringLiteral("engine/command")).toString());
}

void MainWindow::chooseEngine() {
  bool ok = false;
  const QString before = m_workspace->view(QStringLiteral("engine/command")).toString();
  const QString text = QInputDialog::getText(this, tr("Engine command"),
                                             tr("A program, or a command line such as\nssh -T -oBatchMode=yes -oServerAliveInterval=15 HOST flashmorph serve\n"
                                                "(short: ssh:HOST). Empty: FLASHMORPH_ENGINE, beside the workbench, PATH."),
                                             QLineEdit::Normal, before, &ok);
  if (!ok) return;
  m_workspace->setView(QStringLiteral("engine/command"), text.trimmed());
  m_client->startEngine(text.trimmed());
}

void MainWindow::engineFailed(const Failure& failure) {
  Banner* banner = m_banners->add(failure, Banner::Level::error);
  const EngineState state = m_client->state();
  if (failure.stage != u"engine") return;
  if (banner->property("hasActions").toBool()) return;
  banner->setProperty("hasActions", true);
  if (state == EngineState::missing) {
    banner->addAction(tr("Browse…"), [this] {
      const QString path = QFileDialog::getOpenFileName(this, tr("Engine program"));
      if (path.isEmpty()) return;
      m_workspace->setView(QStringLiteral("engine/command"), path);
      m_client->startEngine(path);
    });
  } else if (state == EngineState::lost) {
    banner->addAction(m_client->host().isEmpty() ? tr("Restart") : tr("Reconnect"), [this] { startEngine(); });
    if (!m_lost.run.isEmpty()) {
      const LostJob lost = m_lost;
      banner->addAction(tr("Resume from step %1").arg(lost.step), [this, lost] { resumeRun(lost.run); });
    }
  }
}

void MainWindow::engineChanged(EngineState state) {
  if (state == EngineState::ready) {
    if (m_silent) m_banners->remove(m_silent);
    m_silent = nullptr;
    m_lost = {};
  }
  if (state == EngineState::notResponding && !m_silent) {
    m_silent = m_banners->add({tr("engine "), tr("not responding for 10 s"), tr("it may be busy with a long step: nothing is stopped unless you say so"), 0, m_client->outputTail(), {}},
                              Banner::Level::warning);
    m_silent->addAction(tr("Wait"), [] {});
    m_silent->addAction(tr("Force stop"), [this] { m_client->forceStop(); });
  }
  if (state == EngineState::starting || state == EngineState::absent) m_hasBeat = false;
  if (state == EngineState::starting) m_model.clear();
  refreshStatus();
}

// The run's own choices stand in its folder: only its place is said.
void MainWindow::resumeRun(const QString& uuid) {
  const Run* run = m_store->run(uuid);
  if (!run) return;
  if (!m_client->isReady()) {
    // As soon as the new engine answers.
    auto* once = new QObject(this);
    connect(m_client, &EngineClient::helloDone, once, [this, once, uuid] {
      once->deleteLater();
      resumeRun(uuid);
    });
    connect(m_client, &EngineClient::failed, once, &QObject::deleteLater);
    return startEngine();
  }
  const QString stage = QString::fromStdString(run->record.kind);
  const json extra = {{"run", run->path.toStdString()}, {"resume", true}};
  m_client->start(stage, default_config(stage.toStdString()), this, [this, uuid, stage](const Reply& reply) {
    if (!reply.ok) {
      m_banners->add(reply.failure);
      return;
    }
    m_workspace->setCurrentRun(uuid);
    showPage(stage == u"distill" || stage == u"finetune" ? QStringLiteral("distill") : QStringLiteral("gates"));
  }, extra);
}

void MainWindow::restoreWindow() {
  const auto bytes = [this](const char* key) { return QByteArray::fromBase64(m_workspace->view(QLatin1String(key)).toString().toLatin1()); };
  if (const QByteArray geometry = bytes("window/geometry"); !geometry.isEmpty()) restoreGeometry(geometry);
  if (const QByteArray docks = bytes("window/docks"); !docks.isEmpty()) restoreState(docks, 1);
  m_row->show();
  if (const QString page = m_workspace->view(QStringLiteral("window/page")).toString(); pageNames().contains(page)) showPage(page);
  if (const QString selected = m_workspace->view(QStringLiteral("window/layers")).toString(); !selected.isEmpty()) {
    std::set<int> layers;
    for (const QString& word : selected.split(u',')) layers.insert(word.toInt());
    m_selection->setLayers(layers);
  }
  refreshRecent();
}

void MainWindow::rememberWindow() {
  m_workspace->setView(QStringLiteral("window/geometry"), QString::fromLatin1(saveGeometry().toBase64()));
  m_workspace->setView(QStringLiteral("window/docks"), QString::fromLatin1(saveState(1).toBase64()));
  QStringList layers;
  for (const int layer : m_selection->layers()) layers << QString::number(layer);
  m_workspace->setView(QStringLiteral("window/layers"), layers.join(u','));
}

void MainWindow::closeEvent(QCloseEvent* event) {
  rememberWindow();
  m_workspace->save();
  m_client->stopEngine();
  event->accept();
}

void MainWindow::dragEnterEvent(QDragEnterEvent* event) {
  if (event->mimeData()->hasUrls()) event->acceptProposedAction();
}

void MainWindow::dropEvent(QDropEvent* event) {
  for (const QUrl& url : event->mimeData()->urls())
    if (url.isLocalFile()) openPath(url.toLocalFile());
}

}  // namespace flashmorph
