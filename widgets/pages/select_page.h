// SPDX-License-Identifier: GPL-3.0-or-later
// Select: budget and locks to a plan, with the recall map of exactly this plan. Plan, bars, strip and
// KV size follow every slider event in the same frame.
#pragma once

#include <memory>
#include <optional>

#include <QTimer>
#include <QWidget>

#include "core/run/budget_solver.h"
#include "widgets/client/engine_client.h"
#include "widgets/pages/plan_evaluation.h"
#include "widgets/state/run_store.h"
#include "widgets/state/selection.h"
#include "widgets/state/workspace.h"

class QCheckBox;
class QComboBox;
class QHBoxLayout;
class QLabel;
class QPushButton;
class QSpinBox;
class QStackedWidget;
class QVBoxLayout;

namespace flashmorph {

class BudgetSlider;
class GateBars;
class PlanStrip;
class RecallMap;
class TruthTable;

class SelectPage : public QWidget {
  Q_OBJECT
 public:
  SelectPage(EngineClient* client, RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent = nullptr);

  const BudgetSolution& solution() const { return m_solution; }
  QString evalSet() const;
  void setEvalSet(const QString& name);
  /// Whose weights are evaluated: this run's aligned branches or a distilled hybrid of the same teacher.
  struct Weights {
    QString run;  ///< uuid of the run that keeps the evaluations
    QString kind = QStringLiteral("aligned");
  };
  Weights weights() const;
  /// `flashmorph eval` of the plan on the screen.
  Q_INVOKABLE QString commandLine() const;
  BudgetSlider* slider() const { return m_slider; }
  GateBars* bars() const { return m_bars; }
  PlanStrip* strip() const { return m_strip; }
  RecallMap* map() const { return m_map; }
  PlanEvaluation* evaluation() const { return m_evaluation; }
  /// Texts under the slider and beside the map, for tests and screen readers.
  QString planText() const;
  QString mapText() const;
  QStringList nearTexts() const;

 public slots:
  void refresh();         ///< everything from the store
  void evaluateNow();     ///< E
  void addToCompare();    ///< C
  void lockSelected(QChar key);  ///< F, L, U

 signals:
  void compareRequested();             ///< a slot was filled: show Compare
  void demoRequested();

 protected:
  void keyPressEvent(QKeyEvent* event) override;

 private:
  void build(Selection* selection);
  void solve();       ///< slider event: pure, under a millisecond
  void showMap();     ///< the grid of this very plan, or a hatched one
  void showNear();    ///< chips, brackets, rank
  void showEvaluation();
  void fillScores(const Run& run);
  void fillWeights(const Run& run);
  void fillSets(const Run& run);
  void arrived(const QString& run);
  void toCompare(const LayerPlan& plan, const QString& label = {});
  const Run* shownRun() const;
  const Run* scoreRun() const;

  RunStore* m_store;
  Workspace* m_workspace;
  PlanEvaluation* m_evaluation;
  QStackedWidget* m_stack;
  BudgetSlider* m_slider;
  QSpinBox* m_spin;
  QComboBox *m_scores, *m_sets, *m_weights, *m_quantity;
  QCheckBox* m_idle;
  GateBars* m_bars;
  PlanStrip* m_strip;
  RecallMap* m_map;
  QLabel *m_planLabel, *m_moved, *m_band, *m_summary, *m_brackets, *m_rank, *m_state;
  QPushButton *m_evaluate, *m_compare;
  QVBoxLayout* m_near;
  QHBoxLayout* m_swaps;
  QTimer m_due;
  GateScore m_score;
  std::vector<Lock> m_locks;
  BudgetSolution m_solution;
  std::shared_ptr<const TruthTable> m_truth;
  QString m_truthOf, m_shown;  ///< teacher whose truth was looked for; run shown
  bool m_filling = false;
};

}  // namespace flashmorph
