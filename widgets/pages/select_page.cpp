// SPDX-License-Identifier: GPL-3.0-or-later
// The Select page: solving and showing. The look is built in select_page_look.cpp.
#include "widgets/pages/select_page.h"

#include <algorithm>
#include <cmath>

#include <QCheckBox>
#include <QComboBox>
#include <QHBoxLayout>
#include <QKeyEvent>
#include <QLabel>
#include <QPushButton>
#include <QSignalBlocker>
#include <QSpinBox>
#include <QStackedWidget>
#include <QVBoxLayout>

#include "core/run/error.h"
#include "widgets/format/format.h"
#include "widgets/pages/run_values.h"
#include "widgets/pages/view_export.h"
#include "widgets/views/budget_slider.h"
#include "widgets/views/gate_bars.h"
#include "widgets/views/plan_strip.h"
#include "widgets/views/recall_map.h"

namespace flashmorph {

namespace {

QString planKey(const LayerPlan& plan) { return QString::fromStdString(plan.to_string()); }

void clearLayout(QLayout* layout) {
  while (QLayoutItem* item = layout->takeAt(0)) {
    if (QWidget* widget = item->widget()) {
      widget->hide();
      widget->deleteLater();  // a chip may be the sender
    }
    delete item;
  }
}

}  // namespace

SelectPage::SelectPage(EngineClient* client, RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent)
    : QWidget(parent), m_store(store), m_workspace(workspace), m_evaluation(new PlanEvaluation(client, store, this)) {
  setObjectName(QStringLiteral("select page"));
  setAccessibleName(tr("Select: budget and plan"));
  build(selection);
  m_due.setSingleShot(true);
  m_due.setInterval(100);
  connect(&m_due, &QTimer::timeout, this, &SelectPage::refresh);
  connect(workspace, &Workspace::currentRunChanged, this, &SelectPage::refresh);
  connect(workspace, &Workspace::restored, this, &SelectPage::refresh);
  connect(workspace, &Workspace::budgetChanged, this, [this](const QString& run) {
    if (run == m_shown) solve();
  });
  connect(workspace, &Workspace::locksChanged, this, [this](const QString& run) {
    if (run == m_shown) solve();
  });
  connect(store, &RunStore::runAdded, this, &SelectPage::arrived);
  connect(store, &RunStore::runChanged, this, &SelectPage::arrived);
  connect(store, &RunStore::gatesAppended, this, &SelectPage::arrived);
  connect(store, &RunStore::runRemoved, this, &SelectPage::arrived);
  connect(store, &RunStore::cellsChanged, this, [this](const QString&, const QString& set, const QString& plan) {
    // Cells of another plan never touch this map; they may make a new chip.
    if (set == evalSet() && plan == planKey(m_solution.plan)) showMap();
    else if (!m_due.isActive()) m_due.start();
  });
  connect(m_evaluation, &PlanEvaluation::changed, this, &SelectPage::showEvaluation);
  refresh();
}

const Run* SelectPage::shownRun() const { return m_store->run(m_workspace->currentRun()); }

const Run* SelectPage::scoreRun() const {
  const Run* run = m_store->run(m_scores->currentData().toString());
  return run ? run : shownRun();
}

void SelectPage::arrived(const QString&) {
  if (!m_due.isActive()) m_due.start();
}

QString SelectPage::evalSet() const { return m_sets->currentData().toString(); }

void SelectPage::setEvalSet(const QString& name) {
  const int at = m_sets->findData(name);
  if (at >= 0) m_sets->setCurrentIndex(at);
}

void SelectPage::fillScores(const Run& run) {
  const QString chosen = m_scores->currentData().toString();
  const QSignalBlocker quiet(m_scores);
  m_scores->clear();
  for (const QString& uuid : m_store->uuids()) {
    const Run* other = m_store->run(uuid);
    const bool sameTeacher = other && other->layers() == run.layers() && teacherId(other->record) == teacherId(run.record);
    if (other != &run && (!other || !sameTeacher || !other->hasScore())) continue;
    const QString method = other->method.isEmpty() || other->method == u"gates" ? tr("gates") : other->method;
    const QString text = other == &run ? tr("%1 (this run)").arg(method) : tr("%1 of %2").arg(method, other->displayName());
    if (other == &run) m_scores->insertItem(0, text, uuid);
    else m_scores->addItem(text, uuid);
  }
  const int at = m_scores->findData(chosen);
  m_scores->setCurrentIndex(at >= 0 && m_shown == run.uuid ? at : 0);
}

void SelectPage::fillWeights(const Run& run) {
  const QString chosen = m_weights->currentData().toString();
  const QSignalBlocker quiet(m_weights);
  m_weights->clear();
  m_weights->addItem(tr("aligned"), run.uuid + QStringLiteral("|aligned"));
  for (const QString& uuid : m_store->uuids()) {
    const Run* other = m_store->run(uuid);
    const bool trained = other && (other->record.kind == "distill" || other->record.kind == "finetune") && other->record.state == "finished";
    if (trained && other->layers() == run.layers() && teacherId(other->record) == teacherId(run.record)) m_weights->addItem(tr("distilled: %1").arg(other->displayName()), uuid + QStringLiteral("|distilled"));
  }
  const int at = m_weights->findData(chosen);
  m_weights->setCurrentIndex(at >= 0 ? at : 0);
  m_weights->setEnabled(m_weights->count() > 1);
}

SelectPage::Weights SelectPage::weights() const {
  const QString data = m_weights->currentData().toString();
  return data.isEmpty() ? Weights{m_shown} : Weights{data.section(u'|', 0, 0), data.section(u'|', 1)};
}

QString SelectPage::commandLine() const {
  const Weights from = weights();
  const Run* run = m_store->run(from.run);
  if (!run || m_solution.plan.layers < 1) return {};
  try {
    RunConfig config = default_config("eval");
    config.command = "eval";
    config.run = run->path.toStdString();
    config.plans = {m_solution.plan.to_string()};
    config.set = evalSet().toStdString();
    config.weights = from.kind.toStdString();
    return QString::fromStdString(command_line(config));
  } catch (const std::exception&) {
    return {};
  }
}

void SelectPage::toCompare(const LayerPlan& plan, const QString& label) {
  const Weights from = weights();
  m_workspace->addToCompare({from.run, planKey(plan), evalSet(), from.kind, label});
  emit compareRequested();
}

void SelectPage::fillSets(const Run& run) {
  const QString chosen = evalSet();
  const QSignalBlocker quiet(m_sets);
  m_sets->clear();
  for (const EvalSet& set : m_store->evalSets(m_weights->count() ? weights().run : run.uuid)) {
    const QString name = QString::fromStdString(set.name);
    m_sets->addItem(tr("%1 (%2 trials)").arg(name).arg(set.trials), name);
  }
  if (m_sets->count() == 0) m_sets->addItem(tr("default set"), QString());
  const int at = m_sets->findData(chosen);
  m_sets->setCurrentIndex(at >= 0 ? at : m_sets->count() - 1);
}

void SelectPage::refresh() {
  const Run* run = shownRun();
  const int L = run ? run->layers() : 0;
  if (L < 1) {
    m_shown.clear();
    m_evaluation->show({});
    m_stack->setCurrentIndex(0);
    return;
  }
  fillScores(*run);
  fillWeights(*run);
  fillSets(*run);
  m_shown = run->uuid;
  // A live run names its teacher only with its first commit.
  if (const QString teacher = teacherId(run->record); teacher != m_truthOf) {
    m_truthOf = teacher;
    m_truth = TruthTable::find(run->record);
  }
  const Run* scored = scoreRun();
  m_score = scored ? scored->score() : GateScore{};
  if (m_score.score.size() != static_cast<size_t>(L)) {
    m_score.score.clear();
    m_score.tie_break.clear();
  }
  m_stack->setCurrentIndex(1);
  solve();
}

void SelectPage::solve() {
  const Run* run = shownRun();
  if (!run || run->uuid != m_shown) return;
  const int L = run->layers();
  m_locks = m_workspace->locks(run->uuid, L);
  int K = m_workspace->budget(run->uuid);
  if (K < 0) K = startBudget(run->record);
  const Run* scored = scoreRun();
  const bool hasScore = !m_score.score.empty();
  // Without scores the slider still shows the scale; the plan then goes by index and says so.
  const std::vector<double> score = hasScore ? m_score.score : std::vector<double>(static_cast<size_t>(L), 0.0);
  try {
    m_solution = solve_budget(score, hasScore ? m_score.tie_break : std::vector<double>{}, K, m_locks, scored ? closeBand(scored->record, score) : kCloseGap);
  } catch (const Error& error) {
    m_moved->setText(QString::fromStdString(error.message()));
    return;
  }
  const auto full = static_cast<int>(std::count(m_locks.begin(), m_locks.end(), Lock::full));
  const auto linear = static_cast<int>(std::count(m_locks.begin(), m_locks.end(), Lock::linear));
  m_filling = true;
  m_slider->setLayers(L, full, L - linear);
  m_spin->setRange(full, L - linear);
  m_slider->setValue(m_solution.budget);
  m_spin->setValue(m_solution.budget);
  m_filling = false;
  m_bars->setData({hasScore ? m_score.score : std::vector<double>{}, m_locks, m_solution, scored && scored->provisional});
  m_strip->setData(m_solution.plan, m_locks);

  QStringList words;
  if (full + linear > 0) words += tr("%1 locked full, %2 linear").arg(full).arg(linear);
  if (const auto all = kvBytesPerToken(run->record, L)) words += tr("KV %1 → %2 per token").arg(format::kibibytes(*all), format::kibibytes(*kvBytesPerToken(run->record, m_solution.budget)));
  if (hasScore && scored && scored->provisional) words += tr("provisional: gates still train");
  if (hasScore && m_score.last_step > 0) words += tr("score over steps %1 to %2").arg(m_score.first_step).arg(m_score.last_step);
  if (!hasScore) words += tr("this run has no scores; layers go by index");
  m_planLabel->setText(tr("full: %1").arg(format::layers(m_solution.plan)) + (words.isEmpty() ? QString() : QStringLiteral("   ·   ") + words.join(QStringLiteral("   ·   "))));
  m_moved->setText(QString::fromStdString(m_solution.moved));
  m_moved->setVisible(!m_solution.moved.empty());

  clearLayout(m_swaps);
  const bool unsure = hasScore && (m_solution.close || m_solution.undetermined) && m_solution.last_kept >= 0 && m_solution.first_dropped >= 0;
  m_band->setVisible(unsure);
  if (unsure) {
    m_band->setText(m_solution.undetermined ? tr("undetermined: layers %1 and %2 are equal in all but index").arg(m_solution.last_kept).arg(m_solution.first_dropped)
                                            : tr("close cut (gap %1): to Compare").arg(format::number(m_solution.gap.value_or(0), 3)));
    int shown = 0;
    for (const int out : m_solution.band) {
      if (!m_solution.plan.is_full(out)) continue;
      for (const int in : m_solution.band) {
        if (m_solution.plan.is_full(in) || shown >= 6) continue;
        auto* chip = new QPushButton(QStringLiteral("−%1 +%2").arg(out).arg(in), this);
        chip->setAccessibleName(tr("Compare with layer %1 swapped for %2").arg(out).arg(in));
        LayerPlan swapped = m_solution.plan;
        std::replace(swapped.full.begin(), swapped.full.end(), out, in);
        std::sort(swapped.full.begin(), swapped.full.end());
        connect(chip, &QPushButton::clicked, this, [this, swapped] {
          toCompare(swapped);
        });
        m_swaps->addWidget(chip);
        ++shown;
      }
    }
    m_swaps->addStretch();
  }
  showMap();
}

void SelectPage::showMap() {
  const Run* run = shownRun();
  if (!run) return;
  const QString set = evalSet();
  const Weights from = weights();
  const RecallGrid* known = m_store->grid(from.run, set, m_solution.plan, from.kind);
  std::shared_ptr<const RecallGrid> grid;
  if (known) grid = std::make_shared<RecallGrid>(*known);
  else
    for (const EvalSet& one : m_store->evalSets(from.run))
      if (QString::fromStdString(one.name) == set) grid = std::make_shared<RecallGrid>(one.empty_grid());
  m_map->setData(grid);
  m_map->setTrainedLength(trainedLength(run->record));
  m_map->setTitle(tr("%1, %2, K %3").arg(set.isEmpty() ? tr("no eval set yet") : set, from.kind).arg(m_solution.budget));
  if (known) {
    const bool nll = m_map->quantity() == RecallQuantity::nll;
    m_summary->setText(nll ? tr("mean NLL %1 nat").arg(format::number(known->mean_nll_nats(), 3)) : tr("mean %1").arg(format::number(known->mean_score(), 3)));
    m_summary->setToolTip(tr("mean score over cells %1; all answers right in 95 % %2 of prompts (Wilson); mean NLL %3 nat per answer token").arg(format::number(known->mean_score(), 3), format::interval(known->interval()), format::number(known->mean_nll_nats(), 3)));
  } else {
    m_summary->setText(tr("not evaluated"));
    m_summary->setToolTip({});
  }
  showNear();
  m_evaluation->show({from.run, planKey(m_solution.plan), set, from.kind, known && known->complete()});
  showEvaluation();
}

void SelectPage::showNear() {
  const Run* run = shownRun();
  const QString set = evalSet();
  const Weights from = weights();
  const bool nll = m_map->quantity() == RecallQuantity::nll;
  const auto valueOf = [&](const LayerPlan& plan) {
    const RecallGrid* grid = m_store->grid(from.run, set, plan, from.kind);
    return grid ? (nll ? grid->mean_nll_nats() : grid->mean_score()) : RecallCell::kMissing;
  };
  struct Near {
    LayerPlan plan;
    int distance;
  };
  std::vector<Near> near;
  double worstNll = 0;
  for (const LayerPlan& plan : m_store->evaluatedPlans(from.run, set, from.kind)) {
    if (plan.layers != m_solution.plan.layers) continue;
    if (const RecallGrid* grid = m_store->grid(from.run, set, plan, from.kind))
      for (const RecallCell& cell : grid->cells)
        if (std::isfinite(cell.nll_nats)) worstNll = std::max(worstNll, cell.nll_nats);
    const int distance = planDistance(plan, m_solution.plan);
    // A swap changes two layers; the brackets have their own line.
    if (distance > 0 && distance <= 4 && plan.budget() != 0 && plan.budget() != plan.layers) near.push_back({plan, distance});
  }
  m_map->setNllTop(std::ceil(worstNll));
  std::stable_sort(near.begin(), near.end(), [](const Near& a, const Near& b) { return a.distance < b.distance; });
  if (near.size() > 6) near.resize(6);
  clearLayout(m_near);
  for (const Near& one : near) {
    const QString how = swapText(m_solution.plan, one.plan);
    auto* chip = new QPushButton(QStringLiteral("K %1   %2   %3").arg(one.plan.budget()).arg(how, format::number(valueOf(one.plan), 2)), this);
    chip->setProperty("near", true);
    chip->setAccessibleName(tr("Evaluated plan %1: %2, mean %3; add to Compare").arg(planKey(one.plan), how, format::number(valueOf(one.plan), 2)));
    chip->setToolTip(tr("%1, evaluated. Click: add to Compare").arg(planKey(one.plan)));
    connect(chip, &QPushButton::clicked, this, [this, plan = one.plan] { toCompare(plan); });
    m_near->addWidget(chip);
  }
  if (near.empty()) {
    auto* none = new QLabel(tr("none evaluated yet"), this);
    none->setEnabled(false);
    m_near->addWidget(none);
  }
  const int L = m_solution.plan.layers;
  m_brackets->setText(tr("teacher %1   ·   all linear %2").arg(format::number(valueOf(LayerPlan::all_full(L)), 2), format::number(valueOf(LayerPlan::all_linear(L)), 2)));
  QString rank;
  if (m_truth) {
    if (const auto place = m_truth->rankOf(m_solution.plan))
      rank = tr("truth: rank %1 of %2 plans with K %3; %4 nat behind the best (%5)").arg(place->rank).arg(place->plans).arg(m_solution.budget).arg(format::number(place->regret_nats, 3), format::layers(place->best));
    else rank = tr("truth: plans with K %1 were not measured").arg(m_solution.budget);
  }
  m_rank->setText(rank);
  m_rank->setVisible(!rank.isEmpty());
}

void SelectPage::showEvaluation() {
  using State = PlanEvaluation::State;
  const State state = m_evaluation->state();
  m_state->setText(m_evaluation->words());
  m_state->setVisible(!m_evaluation->words().isEmpty());
  m_map->setTitle(m_map->title(), state == State::complete ? QString() : m_evaluation->words());
  m_evaluate->setEnabled(state != State::complete && state != State::asked && state != State::nothing);
  m_evaluate->setText(state == State::complete ? tr("Evaluated") : state == State::asked ? tr("Evaluating...") : tr("Evaluate"));
}

void SelectPage::evaluateNow() { m_evaluation->evaluateNow(); }

void SelectPage::addToCompare() {
  if (m_shown.isEmpty()) return;
  toCompare(m_solution.plan, tr("K %1").arg(m_solution.budget));
}

void SelectPage::lockSelected(QChar key) {
  const Run* run = shownRun();
  Selection* selection = m_bars->selection();
  if (!run || !selection || selection->layers().empty()) return;
  const Lock lock = key == u'F' ? Lock::full : key == u'L' ? Lock::linear : Lock::free;
  std::vector<Lock> locks = m_workspace->locks(run->uuid, run->layers());
  for (const int layer : selection->layers())
    if (layer >= 0 && layer < run->layers()) locks[static_cast<size_t>(layer)] = lock;
  const auto full = static_cast<int>(std::count(locks.begin(), locks.end(), Lock::full));
  const auto linear = static_cast<int>(std::count(locks.begin(), locks.end(), Lock::linear));
  const int asked = m_solution.budget, K = std::clamp(asked, full, run->layers() - linear);
  m_workspace->setLocksAndBudget(run->uuid, locks, K, lock == Lock::full ? tr("Lock full") : lock == Lock::linear ? tr("Lock linear") : tr("Unlock"));
  if (K != asked) {
    m_moved->setText(tr("K moved from %1 to %2: %3 locked full, %4 locked linear").arg(asked).arg(K).arg(full).arg(linear));
    m_moved->show();
  }
}

QString SelectPage::planText() const { return m_planLabel->text(); }
QString SelectPage::mapText() const { return m_summary->text() + u' ' + m_brackets->text() + u' ' + m_rank->text(); }

QStringList SelectPage::nearTexts() const {
  QStringList texts;
  for (int i = 0; i < m_near->count(); ++i)
    if (const auto* chip = qobject_cast<QPushButton*>(m_near->itemAt(i)->widget())) texts += chip->text();
  return texts;
}

void SelectPage::keyPressEvent(QKeyEvent* event) {
  if (event->modifiers() == Qt::NoModifier) switch (event->key()) {
      case Qt::Key_E: return evaluateNow();
      case Qt::Key_C: return addToCompare();
      case Qt::Key_F:
      case Qt::Key_L:
      case Qt::Key_U: return lockSelected(QChar(event->key()));
      default: break;
    }
  if (event->key() == Qt::Key_E && event->modifiers() == Qt::ControlModifier) return askAndExport(*m_map, this);
  QWidget::keyPressEvent(event);
}

}  // namespace flashmorph
