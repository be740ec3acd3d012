// SPDX-License-Identifier: GPL-3.0-or-later
// How the Select page is laid out, and who hears whom.
#include <QCheckBox>
#include <QComboBox>
#include <QGridLayout>
#include <QHBoxLayout>
#include <QLabel>
#include <QPushButton>
#include <QSpinBox>
#include <QStackedWidget>
#include <QVBoxLayout>

#include "widgets/pages/select_page.h"
#include "widgets/pages/view_export.h"
#include "widgets/views/budget_slider.h"
#include "widgets/views/gate_bars.h"
#include "widgets/views/plan_strip.h"
#include "widgets/views/recall_map.h"

namespace flashmorph {

void SelectPage::build(Selection* selection) {
  m_stack = new QStackedWidget(this);
  m_slider = new BudgetSlider;
  m_spin = new QSpinBox;
  m_spin->setObjectName(QStringLiteral("budget spin"));
  m_spin->setAccessibleName(tr("Budget K: layers that stay full"));
  m_spin->setKeyboardTracking(false);
  m_scores = new QComboBox;
  m_scores->setObjectName(QStringLiteral("score source"));
  m_scores->setAccessibleName(tr("Whose score orders the layers"));
  m_scores->setSizeAdjustPolicy(QComboBox::AdjustToContents);
  m_sets = new QComboBox;
  m_sets->setObjectName(QStringLiteral("eval set"));
  m_sets->setAccessibleName(tr("Eval set"));
  m_sets->setSizeAdjustPolicy(QComboBox::AdjustToContents);
  m_weights = new QComboBox;
  m_weights->setObjectName(QStringLiteral("eval weights"));
  m_weights->setAccessibleName(tr("Weights that are evaluated"));
  m_weights->setToolTip(tr("The branches as aligned, or a hybrid distilled from the same teacher"));
  m_weights->setSizeAdjustPolicy(QComboBox::AdjustToContents);
  m_quantity = new QComboBox;
  m_quantity->setObjectName(QStringLiteral("recall quantity"));
  m_quantity->setAccessibleName(tr("What the map shows"));
  m_quantity->addItems({tr("recall"), tr("NLL")});
  m_idle = new QCheckBox(tr("evaluate when &idle"));
  m_idle->setObjectName(QStringLiteral("evaluate when idle"));
  m_idle->setToolTip(tr("After 300 ms at rest, if it takes less than a minute"));
  m_idle->setChecked(m_workspace->view(QStringLiteral("select/idle")).toBool(true));
  m_evaluation->setWhenIdle(m_idle->isChecked());
  m_bars = new GateBars;
  m_strip = new PlanStrip;
  m_map = new RecallMap;
  const auto label = [this](const char* name, bool wrap = true) {
    auto* made = new QLabel(this);
    made->setObjectName(QLatin1String(name));
    made->setTextFormat(Qt::PlainText);
    made->setTextInteractionFlags(Qt::TextSelectableByMouse);
    made->setWordWrap(wrap);
    return made;
  };
  m_planLabel = label("plan text");
  m_moved = label("budget moved");
  m_band = label("close cut", false);
  m_summary = label("map summary");
  m_brackets = label("brackets");
  m_rank = label("truth rank");
  m_state = label("evaluation state");
  QFont large = font();
  large.setPointSizeF(large.pointSizeF() * 1.25);
  large.setBold(true);
  m_summary->setFont(large);
  m_evaluate = new QPushButton(tr("Evaluate"));
  m_evaluate->setObjectName(QStringLiteral("evaluate"));
  m_evaluate->setToolTip(tr("Evaluate this plan now (E)"));
  m_compare = new QPushButton(tr("Compare"));
  m_compare->setObjectName(QStringLiteral("add to compare"));
  m_compare->setToolTip(tr("Put this plan into a slot of Compare (C)"));

  auto* top = new QHBoxLayout;
  auto* budgetLabel = new QLabel(tr("&Budget K"));
  budgetLabel->setBuddy(m_spin);
  top->addWidget(budgetLabel, 0, Qt::AlignTop);
  top->addWidget(m_spin, 0, Qt::AlignTop);
  top->addWidget(m_slider, 1);
  auto* scoreLabel = new QLabel(tr("&Score"));
  scoreLabel->setBuddy(m_scores);
  top->addWidget(scoreLabel, 0, Qt::AlignTop);
  top->addWidget(m_scores, 0, Qt::AlignTop);

  auto* bandRow = new QHBoxLayout;
  bandRow->addWidget(m_band);
  m_swaps = new QHBoxLayout;
  bandRow->addLayout(m_swaps);
  bandRow->addStretch();

  auto* side = new QVBoxLayout;
  side->addWidget(m_summary);
  side->addWidget(m_brackets);
  side->addWidget(m_rank);
  side->addSpacing(6);
  auto* buttons = new QHBoxLayout;
  buttons->addWidget(m_evaluate);
  buttons->addWidget(m_compare);
  side->addLayout(buttons);
  side->addWidget(m_idle);
  side->addWidget(m_state);
  side->addSpacing(6);
  auto* nearTitle = new QLabel(tr("Near, evaluated"));
  side->addWidget(nearTitle);
  m_near = new QVBoxLayout;
  m_near->setSpacing(2);
  side->addLayout(m_near);
  side->addStretch();
  auto* sideBox = new QWidget;
  sideBox->setLayout(side);
  sideBox->setFixedWidth(250);

  auto* mapBar = new QHBoxLayout;
  auto* setLabel = new QLabel(tr("Eval s&et"));
  setLabel->setBuddy(m_sets);
  mapBar->addWidget(setLabel);
  mapBar->addWidget(m_sets);
  auto* weightsLabel = new QLabel(tr("&Weights"));
  weightsLabel->setBuddy(m_weights);
  mapBar->addWidget(weightsLabel);
  mapBar->addWidget(m_weights);
  auto* quantityLabel = new QLabel(tr("Sh&ow"));
  quantityLabel->setBuddy(m_quantity);
  mapBar->addWidget(quantityLabel);
  mapBar->addWidget(m_quantity);
  mapBar->addStretch();

  auto* lower = new QGridLayout;
  lower->addLayout(mapBar, 0, 0);
  lower->addWidget(m_map, 1, 0);
  lower->addWidget(sideBox, 0, 1, 2, 1);
  lower->setColumnStretch(0, 1);
  lower->setRowStretch(1, 1);

  auto* work = new QWidget;
  auto* layout = new QVBoxLayout(work);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(4);
  layout->addLayout(top);
  layout->addWidget(m_planLabel);
  layout->addWidget(m_moved);
  layout->addWidget(m_bars);
  layout->addLayout(bandRow);
  layout->addWidget(m_strip);
  layout->addLayout(lower, 1);

  auto* empty = new QWidget;
  auto* emptyLayout = new QVBoxLayout(empty);
  auto* words = new QLabel(tr("Pick a run"));
  words->setAlignment(Qt::AlignCenter);
  auto* demo = new QPushButton(tr("Open the demo"));
  demo->setObjectName(QStringLiteral("select demo"));
  emptyLayout->addStretch();
  emptyLayout->addWidget(words);
  emptyLayout->addWidget(demo, 0, Qt::AlignCenter);
  emptyLayout->addStretch();
  m_stack->addWidget(empty);
  m_stack->addWidget(work);
  auto* page = new QVBoxLayout(this);
  page->setContentsMargins(8, 6, 8, 6);
  page->addWidget(m_stack);

  for (View* view : std::initializer_list<View*>{m_bars, m_strip, m_map}) {
    view->setSelection(selection);
    connect(view, &View::exportRequested, this, [this](View* chosen) { askAndExport(*chosen, this); });
  }
  connect(m_bars, &LayerView::lockPressed, this, &SelectPage::lockSelected);
  connect(m_strip, &LayerView::lockPressed, this, &SelectPage::lockSelected);
  connect(m_slider, &QAbstractSlider::sliderPressed, m_workspace, &Workspace::beginDrag);
  connect(m_slider, &QAbstractSlider::sliderReleased, m_workspace, &Workspace::endDrag);
  connect(m_slider, &QAbstractSlider::valueChanged, this, [this](int K) {
    if (!m_filling && !m_shown.isEmpty()) m_workspace->setBudget(m_shown, K);
  });
  connect(m_spin, &QSpinBox::valueChanged, this, [this](int K) {
    if (!m_filling && !m_shown.isEmpty()) m_workspace->setBudget(m_shown, K);
  });
  connect(m_scores, &QComboBox::currentIndexChanged, this, &SelectPage::refresh);
  connect(m_sets, &QComboBox::currentIndexChanged, this, &SelectPage::showMap);
  connect(m_weights, &QComboBox::currentIndexChanged, this, [this] {
    if (const Run* run = shownRun()) fillSets(*run);
    showMap();
  });
  connect(m_quantity, &QComboBox::currentIndexChanged, this, [this](int index) {
    m_map->setQuantity(index == 1 ? RecallQuantity::nll : RecallQuantity::score);
    showMap();
  });
  connect(m_idle, &QCheckBox::toggled, this, [this](bool on) {
    m_workspace->setView(QStringLiteral("select/idle"), on);
    m_evaluation->setWhenIdle(on);
  });
  connect(m_evaluate, &QPushButton::clicked, this, &SelectPage::evaluateNow);
  connect(m_compare, &QPushButton::clicked, this, &SelectPage::addToCompare);
  connect(demo, &QPushButton::clicked, this, &SelectPage::demoRequested);
}

}  // namespace flashmorph
