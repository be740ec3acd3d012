// SPDX-License-Identifier: GPL-3.0-or-later
// The window: menu, row of pages, docks, status strip, banners. It only stacks pages; each connects
// itself.
#pragma once

#include <functional>

#include <QElapsedTimer>
#include <QHash>
#include <QMainWindow>
#include <QPointer>
#include <QTimer>

#include "core/run/run_config.h"
#include "widgets/client/engine_client.h"
#include "widgets/shell/banner.h"

class QActionGroup;
class QLabel;
class QStackedWidget;
class QToolBar;

namespace flashmorph {

class InspectorDock;
class JobsDock;
class LogDock;
class ReplayTransport;
class RunStore;
class RunsDock;
class Selection;
class Theme;
class Workspace;

class MainWindow : public QMainWindow {
  Q_OBJECT
 public:
  static constexpr int kPages = 7;
  /// Everything but itself is borrowed. theme may be nullptr (tests).
  MainWindow(EngineClient* client, RunStore* store, Workspace* workspace, Selection* selection, Theme* theme = nullptr, QWidget* parent = nullptr);
  ~MainWindow() override;

  /// "start", "setup", "gates", "select", "compare", "distill", "export".
  static const QStringList& pageNames();
  void showPage(const QString& name);
  QString currentPage() const;
  QWidget* page(const QString& name) const { return m_pages.value(name); }
  /// A run folder, run.fmrun, recorded .jsonl, or model folder.
  void openPath(const QString& path);
  void openReplay(const QString& path, double speed = 1);
  void openDemo();
  /// Starts the engine of the settings if there is none.
  void startEngine();
  BannerStack* bannerStack() const { return m_banners; }
  QList<QAction*> commands() const;

 protected:
  void closeEvent(QCloseEvent* event) override;
  void dragEnterEvent(QDragEnterEvent* event) override;
  void dropEvent(QDropEvent* event) override;

 private:
  void makePages();
  void makeDocks();
  void makeMenus();
  void makeStatus();
  void addPage(const QString& name, const QString& title, QWidget* page);
  void resetLayout();
  void restoreWindow();
  void rememberWindow();
  void refreshStatus();
  void refreshRecent();
  void engineFailed(const Failure& failure);
  void engineChanged(EngineState state);
  void resumeRun(const QString& uuid);
  void exportView();
  void chooseEngine();
  void about();
  void showKeys();
  QAction* addCommand(class QMenu* menu, const QString& text, const QKeySequence& keys, std::function<void()> run);

  EngineClient* m_client;
  RunStore* m_store;
  Workspace* m_workspace;
  Selection* m_selection;
  Theme* m_theme;
  QHash<QString, QWidget*> m_pages;
  QStackedWidget* m_stack = nullptr;
  BannerStack* m_banners = nullptr;
  QToolBar* m_row = nullptr;
  QActionGroup* m_pageActions = nullptr;
  RunsDock* m_runs = nullptr;
  InspectorDock* m_inspector = nullptr;
  JobsDock* m_jobs = nullptr;
  LogDock* m_log = nullptr;
  QMenu* m_recent = nullptr;
  QLabel *m_engineLabel = nullptr, *m_alive = nullptr, *m_speed = nullptr, *m_memory = nullptr, *m_cells = nullptr, *m_engineTop = nullptr;
  QTimer m_status;
  QPointer<Banner> m_silent;
  QPointer<ReplayTransport> m_replay;
  HeartbeatEvent m_beat;
  bool m_hasBeat = false;
  QString m_model;
  struct LostJob {
    QString run;
    qint64 step = 0;
  } m_lost;
};

}  // namespace flashmorph
