// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/pages/plan_choice.h"

#include "core/run/budget_solver.h"
#include "widgets/format/format.h"
#include "widgets/pages/run_values.h"
#include "widgets/state/run_store.h"
#include "widgets/state/workspace.h"

namespace flashmorph {

std::optional<LayerPlan> currentPlan(const Run& run, const Workspace& workspace) {
  const GateScore score = run.score();
  if (run.layers() == 0 || score.score.size() != static_cast<size_t>(run.layers())) return std::nullopt;
  int K = workspace.budget(run.uuid);
  if (K < 0) K = startBudget(run.record);
  try {
    return solve_budget(score.score, score.tie_break, K, workspace.locks(run.uuid, run.layers())).plan;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

PlanChoice::PlanChoice(RunStore* store, Workspace* workspace, QWidget* parent)
    : QComboBox(parent), m_store(store), m_workspace(workspace) {
  setObjectName(QStringLiteral("planChoice"));
  setAccessibleName(tr("Layer plan"));
  setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
  setMinimumContentsLength(36);
  connect(this, &QComboBox::currentIndexChanged, this, &PlanChoice::planChanged);
  connect(workspace, &Workspace::currentRunChanged, this, &PlanChoice::refresh);
  connect(workspace, &Workspace::budgetChanged, this, &PlanChoice::refresh);
  connect(workspace, &Workspace::locksChanged, this, &PlanChoice::refresh);
  connect(workspace, &Workspace::slotsChanged, this, &PlanChoice::refresh);
  connect(workspace, &Workspace::restored, this, &PlanChoice::refresh);
  for (const auto signal : {&RunStore::runChanged, &RunStore::gatesAppended})
    connect(store, signal, this, [this](const QString& uuid) {
      if (uuid == m_workspace->currentRun()) refresh();
    });
  refresh();
}

QString PlanChoice::plan() const { return currentData().toString(); }

void PlanChoice::refresh() {
  const Run* run = m_store->run(m_workspace->currentRun());
  QList<std::pair<QString, QString>> wanted;
  const bool trained = run && (run->record.kind == "distill" || run->record.kind == "finetune") && !run->record.plans.empty();
  if (trained) {
    // Trained weights fit one plan alone: the one that the run was started with.
    const LayerPlan& plan = run->record.plans.front().plan;
    wanted << std::pair{tr("Trained: %1").arg(format::layers(plan)), QString::fromStdString(plan.to_string())};
  } else if (run) {
    if (const auto plan = currentPlan(*run, *m_workspace))
      wanted << std::pair{tr("Slider, K %1: %2").arg(plan->budget()).arg(format::layers(*plan)), QString::fromStdString(plan->to_string())};
    for (const SavedPlan& saved : run->record.plans)
      wanted << std::pair{QStringLiteral("%1: %2").arg(saved.name.empty() ? QString::fromStdString(saved.id) : QString::fromStdString(saved.name), format::layers(saved.plan)),
                          QString::fromStdString(saved.plan.to_string())};
    for (int i = 0; i < Workspace::kSlots; ++i)
      if (const CompareSlot& slot = m_workspace->slot(i); !slot.isEmpty() && slot.run == run->uuid)
        wanted << std::pair{tr("Slot %1: %2").arg(QChar(u'A' + i)).arg(slot.plan.section(u':', 1)), slot.plan};
  }
  bool same = wanted.size() == count();
  for (int i = 0; same && i < count(); ++i) same = itemText(i) == wanted[i].first && itemData(i).toString() == wanted[i].second;
  if (same) return;
  const QString before = plan();
  const int at = currentIndex();
  {
    const QSignalBlocker block(this);
    clear();
    for (const auto& [name, plan] : wanted) addItem(name, plan);
    // The first entry follows the slider; a saved plan stays chosen.
    const int found = findData(before);
    setCurrentIndex(at > 0 && found >= 0 ? found : wanted.isEmpty() ? -1 : 0);
  }
  setEnabled(!wanted.isEmpty());
  emit planChanged();
}

}  // namespace flashmorph
