// SPDX-License-Identifier: GPL-3.0-or-later
// A box with the plans of the current run: the one under the slider, saved ones, slots of Compare.
#pragma once

#include <optional>

#include <QComboBox>

#include "core/run/layer_plan.h"

namespace flashmorph {

struct Run;
class RunStore;
class Workspace;

/// The plan of a run at its budget and locks, as the Select page shows it.
std::optional<LayerPlan> currentPlan(const Run& run, const Workspace& workspace);

class PlanChoice : public QComboBox {
  Q_OBJECT
 public:
  PlanChoice(RunStore* store, Workspace* workspace, QWidget* parent = nullptr);
  /// Text form of the chosen plan, empty: none.
  QString plan() const;

 signals:
  void planChanged();

 private:
  void refresh();

  RunStore* m_store;
  Workspace* m_workspace;
};

}  // namespace flashmorph
