// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/pages/start_page.h"

#include <QFileDialog>
#include <QFileInfo>
#include <QGridLayout>
#include <QLabel>
#include <QListWidget>
#include <QPainter>
#include <QPushButton>
#include <QVBoxLayout>

#include "widgets/client/engine_client.h"
#include "widgets/shell/resources_folder.h"
#include "widgets/state/run_store.h"
#include "widgets/state/workspace.h"

namespace flashmorph {

namespace {

// The dashed field that says where to drop; the window takes the drop.
class DropField : public QWidget {
 public:
  explicit DropField(QWidget* parent = nullptr) : QWidget(parent) { setMinimumHeight(84); }

 protected:
  void paintEvent(QPaintEvent*) override {
    QPainter painter(this);
    painter.setRenderHint(QPainter::Antialiasing);
    QPen pen(palette().color(QPalette::Mid), 1.5, Qt::DashLine);
    painter.setPen(pen);
    painter.drawRoundedRect(rect().adjusted(2, 2, -2, -2), 8, 8);
    painter.setPen(palette().color(QPalette::WindowText));
    painter.drawText(rect(), Qt::AlignCenter, tr("Drop a run folder, a run file, a recording or a model folder here"));
  }
};

QListWidget* list(const char* objectName, const QString& name) {
  auto* l = new QListWidget;
  l->setObjectName(QLatin1String(objectName));
  l->setAccessibleName(name);
  l->setAlternatingRowColors(true);
  l->setTextElideMode(Qt::ElideMiddle);
  return l;
}

}  // namespace

StartPage::StartPage(EngineClient*, RunStore*, Workspace* workspace, Selection*, QWidget* parent)
    : QWidget(parent), m_workspace(workspace) {
  auto* outer = new QVBoxLayout(this);
  outer->setContentsMargins(28, 22, 28, 18);
  outer->setSpacing(14);
  auto* title = new QLabel(tr("Which layers need full attention?"));
  QFont font = title->font();
  font.setPointSizeF(font.pointSizeF() * 1.7);
  font.setBold(true);
  title->setFont(font);
  outer->addWidget(title);
  auto* words = new QLabel(tr("Train one gate per layer, see which layers keep recall, compare plans, distill and export the hybrid."));
  words->setWordWrap(true);
  outer->addWidget(words);
  auto* buttons = new QHBoxLayout;
  const auto button = [&](const QString& text, const QString& tip, const char* name) {
    auto* b = new QPushButton(text);
    b->setObjectName(QLatin1String(name));
    b->setAccessibleName(text);
    b->setAccessibleDescription(tip);
    b->setToolTip(tip);
    b->setMinimumHeight(34);
    buttons->addWidget(b);
    return b;
  };
  QPushButton* demo = button(tr("Demo"), tr("A bundled 10-layer model: the whole loop on a CPU in a few minutes"), "startDemo");
  QPushButton* replay = button(tr("Replay"), tr("Plays a recorded session without an engine"), "startReplay");
  QPushButton* openRun = button(tr("Open run…"), tr("A run file (run.fmrun) of this machine"), "startOpenRun");
  QPushButton* model = button(tr("New run from a model…"), tr("A folder with config.json, tokenizer and safetensors"), "startModel");
  demo->setDefault(true);
  buttons->addStretch(1);
  outer->addLayout(buttons);
  auto* grid = new QGridLayout;
  grid->setHorizontalSpacing(18);
  m_runs = list("recentRuns", tr("Recent runs"));
  m_models = list("recentModels", tr("Recent models"));
  auto* runsTitle = new QLabel(tr("<b>Recent runs</b>"));
  auto* modelsTitle = new QLabel(tr("<b>Recent models</b>"));
  runsTitle->setBuddy(m_runs);
  modelsTitle->setBuddy(m_models);
  grid->addWidget(runsTitle, 0, 0);
  grid->addWidget(modelsTitle, 0, 1);
  grid->addWidget(m_runs, 1, 0);
  grid->addWidget(m_models, 1, 1);
  outer->addLayout(grid, 1);
  outer->addWidget(new DropField);
  connect(demo, &QPushButton::clicked, this, &StartPage::demoAsked);
  connect(replay, &QPushButton::clicked, this, [this] {
    // The bundled recording if there is one, else the user's own.
    const QString bundled = resourcesFolder() + QStringLiteral("/replay/smollm2_gates.jsonl");
    const QString path = QFileInfo::exists(bundled) ? bundled : QFileDialog::getOpenFileName(this, tr("Replay"), {}, tr("Recordings (*.jsonl)"));
    if (!path.isEmpty()) emit replayAsked(path);
  });
  connect(openRun, &QPushButton::clicked, this, [this] {
    const QString path = QFileDialog::getOpenFileName(this, tr("Open run"), {}, tr("Runs and recordings (*.fmrun *.jsonl)"));
    if (!path.isEmpty()) emit openAsked(path);
  });
  connect(model, &QPushButton::clicked, this, [this] {
    const QString path = QFileDialog::getExistingDirectory(this, tr("Choose model folder"));
    if (!path.isEmpty()) emit openAsked(path);
  });
  for (QListWidget* l : {m_runs, m_models})
    connect(l, &QListWidget::itemActivated, this, [this](const QListWidgetItem* item) {
      const QString path = item->data(Qt::UserRole).toString();
      if (!path.isEmpty()) emit openAsked(path);
    });
  connect(workspace, &Workspace::recentChanged, this, &StartPage::refresh);
  connect(workspace, &Workspace::restored, this, &StartPage::refresh);
  refresh();
}

void StartPage::refresh() {
  const auto fill = [](QListWidget* list, const QStringList& paths, const QString& empty) {
    list->clear();
    for (const QString& path : paths) {
      auto* item = new QListWidgetItem(QStringLiteral("%1    %2").arg(QFileInfo(path).fileName(), QFileInfo(path).absolutePath()), list);
      item->setData(Qt::UserRole, path);
      item->setToolTip(path);
      if (!QFileInfo::exists(path)) item->setText(item->text() + tr("    (not there now)"));
    }
    if (paths.isEmpty()) {
      auto* item = new QListWidgetItem(empty, list);
      item->setFlags(Qt::NoItemFlags);
    }
  };
  fill(m_runs, m_workspace->recentRuns(), tr("None yet: train gates, or open a run"));
  fill(m_models, m_workspace->recentModels(), tr("None yet: drop a model folder"));
}

}  // namespace flashmorph
