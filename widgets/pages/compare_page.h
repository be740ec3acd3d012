// SPDX-License-Identifier: GPL-3.0-or-later
// Compare: two to four plans side by side, paired trial by trial; D shows X minus the reference.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include <QTimer>
#include <QWidget>

#include "widgets/client/engine_client.h"
#include "widgets/state/run_store.h"
#include "widgets/state/selection.h"
#include "widgets/state/workspace.h"
#include "widgets/views/compare_table.h"

class QComboBox;
class QGridLayout;
class QLabel;
class QPushButton;
class QStackedWidget;
class QToolButton;

namespace flashmorph {

class DifferenceMap;
class PlanGrid;
class RecallMap;

class ComparePage : public QWidget {
  Q_OBJECT
 public:
  ComparePage(EngineClient* client, RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent = nullptr);

  bool showsDifference() const { return m_difference; }
  void setDifference(bool on);
  int reference() const { return m_reference; }  ///< slot the others are compared with
  void setReference(int slot);
  RecallMap* map(int slot) const { return m_cards[static_cast<size_t>(slot)].map; }
  DifferenceMap* differenceMap(int slot) const { return m_cards[static_cast<size_t>(slot)].difference; }
  PlanGrid* planGrid() const { return m_grid; }
  CompareTable* table() const { return m_table; }
  QString headerText() const;
  QString refusalText() const;  ///< why slots are not compared; empty: they are
  QString warningText() const;
  QString slotNote(int slot) const;  ///< what stands in place of its map
  /// `flashmorph compare` of the slots that share the reference's run.
  Q_INVOKABLE QString commandLine() const;
  /// Lines "28:1,11-14" or "name 28:1,11-14", or "1 11 12"; fills slots, returns what was not understood.
  QStringList pastePlans(const QString& text);

 public slots:
  void refresh();
  void swapCurrent();  ///< W: the current slot with the reference

 protected:
  void keyPressEvent(QKeyEvent* event) override;
  bool eventFilter(QObject* watched, QEvent* event) override;

 private:
  struct Card {
    QWidget* box = nullptr;
    QLabel* badge = nullptr;
    QLabel* name = nullptr;
    QComboBox* plans = nullptr;
    QPushButton* evaluate = nullptr;
    QToolButton* clear = nullptr;
    QStackedWidget* stack = nullptr;
    QLabel* note = nullptr;
    RecallMap* map = nullptr;
    DifferenceMap* difference = nullptr;
    QString failure;  ///< of its last evaluation
  };
  struct Shown {
    int slot = 0;
    const Run* run = nullptr;
    LayerPlan plan;
    QString set, name;
    std::shared_ptr<const RecallGrid> grid;
    QString setHash;
  };
  void build(Selection* selection);
  void buildCard(int slot, Selection* selection);
  void fillPlans(Card& card, const CompareSlot& slot);
  std::optional<Shown> shownOf(int slot);
  void showCard(int slot, const std::optional<Shown>& shown, const std::optional<Shown>& reference);
  void showTable(const std::vector<Shown>& shown);
  void evaluate(int slot);

  EngineClient* m_client;
  RunStore* m_store;
  Workspace* m_workspace;
  std::array<Card, Workspace::kSlots> m_cards;
  QGridLayout* m_cardsLayout;
  QLabel *m_header, *m_refusal, *m_warning;
  QPushButton *m_differenceButton, *m_swap, *m_paste;
  QComboBox *m_referenceBox, *m_quantity;
  PlanGrid* m_grid;
  CompareTable* m_table;
  QTimer m_due;
  bool m_difference = false, m_filling = false;
  int m_reference = 0;
};

}  // namespace flashmorph
