// SPDX-License-Identifier: GPL-3.0-or-later
// The Gates page.
#include "widgets/pages/gates_page.h"

#include <algorithm>
#include <cmath>

#include <QComboBox>
#include <QHBoxLayout>
#include <QJsonArray>
#include <QKeyEvent>
#include <QLabel>
#include <QPushButton>
#include <QScrollArea>
#include <QSplitter>
#include <QStackedWidget>
#include <QToolButton>
#include <QVBoxLayout>

#include "widgets/format/format.h"
#include "widgets/pages/run_values.h"
#include "widgets/pages/view_export.h"
#include "widgets/views/curve_chart.h"
#include "widgets/views/gate_lines.h"
#include "widgets/views/gate_rows.h"

namespace flashmorph {

GatesPage::GatesPage(EngineClient*, RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent)
    : QWidget(parent), m_store(store), m_workspace(workspace), m_stack(new QStackedWidget(this)), m_title(new QLabel(this)),
      m_notices(new QLabel(this)), m_sort(new QComboBox(this)), m_follow(new QToolButton(this)), m_all(new QToolButton(this)),
      m_resume(new QPushButton(tr("Resume"), this)), m_rows(new GateRows), m_lines(new GateLines) {
  setObjectName(QStringLiteral("gates page"));
  setAccessibleName(tr("Gates"));
  m_title->setTextFormat(Qt::PlainText);
  m_sort->addItems({tr("by depth"), tr("by score")});
  m_sort->setObjectName(QStringLiteral("gates sort"));
  m_sort->setAccessibleName(tr("Order of the rows"));
  m_sort->setCurrentIndex(workspace->view(QStringLiteral("gates/sort")).toInt());
  m_follow->setText(tr("Follow"));
  m_follow->setObjectName(QStringLiteral("gates follow"));
  m_follow->setToolTip(tr("Follow the running training or stand still (Space)"));
  m_follow->setCheckable(true);
  m_follow->setChecked(true);
  m_all->setText(tr("All steps"));
  m_all->setObjectName(QStringLiteral("gates all steps"));
  m_all->setToolTip(tr("Show every step again (double-click in the lines)"));
  m_all->setEnabled(false);
  m_resume->setObjectName(QStringLiteral("gates resume"));
  m_resume->setAccessibleName(tr("Resume the training of this run"));
  m_resume->setToolTip(tr("Goes on at the last checkpoint, or at step 1 if there is none"));
  m_resume->hide();
  m_notices->setObjectName(QStringLiteral("gates notices"));
  m_notices->setWordWrap(true);
  m_notices->setTextFormat(Qt::PlainText);
  m_notices->setTextInteractionFlags(Qt::TextSelectableByMouse);
  m_notices->setFrameShape(QFrame::StyledPanel);
  m_notices->setMargin(5);
  m_notices->hide();

  auto* bar = new QHBoxLayout;
  bar->addWidget(m_title, 1);
  bar->addWidget(m_resume);
  auto* sortLabel = new QLabel(tr("&Rows"), this);
  sortLabel->setBuddy(m_sort);
  bar->addWidget(sortLabel);
  bar->addWidget(m_sort);
  bar->addWidget(m_all);
  bar->addWidget(m_follow);

  auto* scroll = new QScrollArea;
  scroll->setWidget(m_rows);
  scroll->setWidgetResizable(true);
  scroll->setFrameShape(QFrame::NoFrame);
  scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  auto* left = new QSplitter(Qt::Vertical);
  left->addWidget(scroll);
  left->addWidget(m_lines);
  left->setStretchFactor(0, 3);
  left->setStretchFactor(1, 2);
  left->setSizes({360, 220});
  left->setChildrenCollapsible(false);
  auto* right = m_side = new QWidget;
  auto* charts = new QVBoxLayout(right);
  charts->setContentsMargins(0, 0, 0, 0);
  charts->setSpacing(4);
  for (CurveChart*& chart : m_charts) {
    chart = new CurveChart;
    charts->addWidget(chart, 1);
  }
  auto* both = new QSplitter(Qt::Horizontal);
  both->addWidget(left);
  both->addWidget(right);
  both->setStretchFactor(0, 3);
  both->setStretchFactor(1, 1);
  both->setSizes({720, 280});

  auto* empty = new QWidget;
  auto* emptyLayout = new QVBoxLayout(empty);
  auto* words = new QLabel(tr("No gates yet"), empty);
  words->setAlignment(Qt::AlignCenter);
  auto* train = new QPushButton(tr("Train gates..."), empty);
  train->setObjectName(QStringLiteral("gates train"));
  emptyLayout->addStretch();
  emptyLayout->addWidget(words);
  emptyLayout->addWidget(train, 0, Qt::AlignCenter);
  emptyLayout->addStretch();
  m_stack->addWidget(empty);
  m_stack->addWidget(both);

  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(8, 6, 8, 6);
  layout->addLayout(bar);
  layout->addWidget(m_notices);
  layout->addWidget(m_stack, 1);

  for (View* view : std::initializer_list<View*>{m_rows, m_lines, m_charts[0], m_charts[1], m_charts[2], m_charts[3]}) {
    view->setSelection(selection);
    connect(view, &View::exportRequested, this, [this](View* chosen) { askAndExport(*chosen, this); });
  }
  m_due.setSingleShot(true);
  m_due.setInterval(100);  // at most ten paints a second
  connect(&m_due, &QTimer::timeout, this, &GatesPage::refresh);
  connect(train, &QPushButton::clicked, this, &GatesPage::trainRequested);
  connect(m_resume, &QPushButton::clicked, this, [this] { emit resumeRequested(m_workspace->currentRun()); });
  connect(m_follow, &QToolButton::toggled, this, &GatesPage::setFollowing);
  connect(m_all, &QToolButton::clicked, this, [this] { setRange({}); });
  connect(m_lines, &GateLines::rangeBrushed, this, &GatesPage::setRange);
  connect(m_sort, &QComboBox::currentIndexChanged, this, [this](int index) {
    m_workspace->setView(QStringLiteral("gates/sort"), index);
    refresh();
  });
  connect(workspace, &Workspace::currentRunChanged, this, [this] {
    m_range = {};
    refresh();
  });
  connect(workspace, &Workspace::budgetChanged, this, [this](const QString& run) { arrived(run, false); });
  connect(workspace, &Workspace::locksChanged, this, [this](const QString& run) { arrived(run, false); });
  connect(workspace, &Workspace::restored, this, &GatesPage::refresh);
  connect(store, &RunStore::runAdded, this, [this](const QString& run) { arrived(run, false); });
  connect(store, &RunStore::runChanged, this, [this](const QString& run) { arrived(run, true); });
  connect(store, &RunStore::gatesAppended, this, [this](const QString& run) { arrived(run, true); });
  connect(store, &RunStore::runRemoved, this, [this](const QString& run) { arrived(run, false); });
  refresh();
}

void GatesPage::arrived(const QString& run, bool rowsOnly) {
  if (run != m_workspace->currentRun() || (rowsOnly && !m_following && m_shown == run)) return;
  if (!m_due.isActive()) m_due.start();
}

void GatesPage::setFollowing(bool on) {
  m_following = on;
  m_follow->setChecked(on);
  m_follow->setText(on ? tr("Follow") : tr("Frozen"));
  if (on) refresh();
}

void GatesPage::setRange(StepRange range) {
  m_range = range;
  m_all->setEnabled(!range.isAll());
  m_rows->setRange(range);
  m_lines->setRange(range);
  for (CurveChart* chart : m_charts)
    if (chart->data().xName != u"layer") chart->setRange(range);
}

QString GatesPage::notices() const { return m_notices->isHidden() ? QString() : m_notices->text(); }

void GatesPage::updateNotices(const Run& run, int budget) {
  QStringList lines;
  if (!run.problem.isEmpty()) lines += run.problem;
  if (run.thinnedEvery > 1) lines += tr("The engine sends every %1th step to keep up; the run file has all of them.").arg(run.thinnedEvery);
  // What is an ill after a fifth of the steps is none before: nothing is said while their number is not known.
  if (!run.record.gates.alpha.empty() && run.totalSteps > 0) {
    const GateHistory history = run.record.gate_history();
    try {
      for (const GateNotice& notice : gate_notices(history, run.totalSteps, budget)) {
        QString text = QString::fromStdString(notice.message);
        if (!text.isEmpty()) text[0] = text[0].toUpper();
        lines += text;
      }
    } catch (const std::exception&) {
      // Columns still growing: said with the next rows.
    }
  }
  m_notices->setText(lines.join(u'\n'));
  m_notices->setVisible(!lines.isEmpty());
}

void GatesPage::refresh() {
  const Run* run = m_store->run(m_workspace->currentRun());
  const auto series = run ? layerSeries(run->record) : nullptr;
  m_resume->setVisible(run && run->canResume());
  const bool bars = run && (series->rows() > 0 || !run->record.gates.score.empty() || !run->record.layer.error.empty());
  const bool rowsFirst = run && run->live && run->layers() > 0;
  if (!bars && !rowsFirst) {
    m_shown.clear();
    m_title->setText(run ? run->displayName() : QString());
    if (run) updateNotices(*run, 0);
    else m_notices->hide();
    m_stack->setCurrentIndex(0);
    return;
  }
  const bool newRun = m_shown != run->uuid;
  m_shown = run->uuid;
  m_stack->setCurrentIndex(1);
  const int64_t last = series->rows() ? series->step.back() : 0;
  QString title = run->displayName();
  if (last > 0) title += tr(", step %1").arg(format::progress(last, run->totalSteps));
  if (run->live) title += tr(", running");
  else if (run->record.state != "finished") title += QStringLiteral(", ") + run->stateText();
  m_title->setText(title);

  GateRowsData rowData;
  rowData.series = series;
  rowData.range = m_range;
  rowData.now = layerValues(run->record, *series);
  const GateScore score = run->score();
  rowData.score = score.score;
  const auto L = static_cast<size_t>(run->layers());
  const bool scored = score.score.size() == L && L > 0;
  int budget = m_workspace->budget(run->uuid);
  if (budget < 0) budget = startBudget(run->record);
  GateLinesData lines;
  if (scored) {
    rowData.locks = m_workspace->locks(run->uuid, run->layers());
    const BudgetSolution solution = solve_budget(score.score, score.tie_break, budget, rowData.locks, closeBand(run->record, score.score));
    rowData.plan = solution.plan;
    budget = solution.budget;
    for (const int layer : {solution.last_kept, solution.first_dropped})
      if (layer >= 0) lines.cut.push_back(layer);
    if (m_sort->currentIndex() == 1) rowData.order = rank_order(score.score, score.tie_break);
  } else if (m_sort->currentIndex() == 1) {
    rowData.order = rank_order(rowData.now, {});  // align runs: largest loss or error on top
  }
  m_sort->setEnabled(true);
  m_rows->setData(std::move(rowData));
  lines.series = series;
  lines.range = m_range;
  m_lines->setData(std::move(lines));
  auto curves = sideCurves(run->record, *series);
  m_side->setVisible(!curves.empty());
  for (size_t i = 0; i < m_charts.size(); ++i) {
    m_charts[i]->setVisible(i < curves.size());
    if (i >= curves.size()) continue;
    if (curves[i].xName != u"layer") curves[i].range = m_range;
    m_charts[i]->setData(std::move(curves[i]));
  }
  // Notices look at all rows: once a hundred rows are new, and at the end.
  const size_t rows = series->rows();
  if (newRun || !run->live || rows < m_noticeRows || rows >= m_noticeRows + 100) {
    updateNotices(*run, scored ? budget : 0);
    m_noticeRows = rows;
  }
  const QString banner = run->record.state == "failed" ? tr("This run failed; these are its last values.") : QString();
  m_rows->setBanner(banner);
}

void GatesPage::keyPressEvent(QKeyEvent* event) {
  if (event->key() == Qt::Key_Space && event->modifiers() == Qt::NoModifier) {
    setFollowing(!m_following);
    return;
  }
  if (event->key() == Qt::Key_E && event->modifiers() == Qt::ControlModifier) return askAndExport(*m_rows, this);
  QWidget::keyPressEvent(event);
}

}  // namespace flashmorph
