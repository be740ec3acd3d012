// SPDX-License-Identifier: GPL-3.0-or-later
// How the Compare page is laid out, and who hears whom.
#include <QApplication>
#include <QClipboard>
#include <QComboBox>
#include <QGridLayout>
#include <QHBoxLayout>
#include <QLabel>
#include <QPushButton>
#include <QScrollArea>
#include <QSplitter>
#include <QStackedWidget>
#include <QToolButton>
#include <QVBoxLayout>

#include "widgets/pages/compare_page.h"
#include "widgets/pages/view_export.h"
#include "widgets/views/difference_map.h"
#include "widgets/views/plan_grid.h"
#include "widgets/views/recall_map.h"
#include "widgets/views/slot_style.h"

namespace flashmorph {

void ComparePage::build(Selection* selection) {
  m_header = new QLabel;
  m_header->setObjectName(QStringLiteral("compare header"));
  m_refusal = new QLabel;
  m_refusal->setObjectName(QStringLiteral("compare refusal"));
  m_warning = new QLabel;
  m_warning->setObjectName(QStringLiteral("compare warning"));
  for (QLabel* label : {m_header, m_refusal, m_warning}) {
    label->setTextFormat(Qt::PlainText);
    label->setWordWrap(true);
    label->setTextInteractionFlags(Qt::TextSelectableByMouse);
  }
  for (QLabel* label : {m_refusal, m_warning}) {
    label->setFrameShape(QFrame::StyledPanel);
    label->setMargin(5);
    label->hide();
  }
  m_differenceButton = new QPushButton(tr("&Difference"));
  m_differenceButton->setObjectName(QStringLiteral("difference"));
  m_differenceButton->setCheckable(true);
  m_differenceButton->setToolTip(tr("Show X minus reference (D)"));
  m_swap = new QPushButton(tr("S&wap"));
  m_swap->setObjectName(QStringLiteral("swap slots"));
  m_swap->setToolTip(tr("Swap the current slot with the reference (W)"));
  m_paste = new QPushButton(tr("&Paste plans"));
  m_paste->setObjectName(QStringLiteral("paste plans"));
  m_paste->setToolTip(tr("Lines such as 28:1,11-14 or 1 11 12 from the clipboard"));
  m_referenceBox = new QComboBox;
  m_referenceBox->setObjectName(QStringLiteral("reference slot"));
  m_referenceBox->setAccessibleName(tr("Reference slot"));
  for (int i = 0; i < Workspace::kSlots; ++i) m_referenceBox->addItem(slotLetter(i));
  m_quantity = new QComboBox;
  m_quantity->setObjectName(QStringLiteral("compare quantity"));
  m_quantity->setAccessibleName(tr("What the maps show"));
  m_quantity->addItems({tr("recall"), tr("NLL")});

  auto* bar = new QHBoxLayout;
  auto* referenceLabel = new QLabel(tr("&Reference"));
  referenceLabel->setBuddy(m_referenceBox);
  auto* quantityLabel = new QLabel(tr("Sh&ow"));
  quantityLabel->setBuddy(m_quantity);
  bar->addWidget(quantityLabel);
  bar->addWidget(m_quantity);
  bar->addWidget(referenceLabel);
  bar->addWidget(m_referenceBox);
  bar->addWidget(m_differenceButton);
  bar->addWidget(m_swap);
  bar->addWidget(m_paste);
  bar->addStretch();

  auto* cards = new QWidget;
  m_cardsLayout = new QGridLayout(cards);
  m_cardsLayout->setContentsMargins(0, 0, 0, 0);
  m_cardsLayout->setSpacing(6);
  for (int i = 0; i < Workspace::kSlots; ++i) buildCard(i, selection);

  m_grid = new PlanGrid;
  m_grid->setSelection(selection);
  m_table = new CompareTable;
  auto* below = new QWidget;
  auto* belowLayout = new QVBoxLayout(below);
  belowLayout->setContentsMargins(0, 0, 0, 0);
  belowLayout->addWidget(m_grid);
  belowLayout->addWidget(m_table, 1);
  auto* split = new QSplitter(Qt::Vertical);
  split->setChildrenCollapsible(false);
  split->addWidget(cards);
  split->addWidget(below);
  split->setStretchFactor(0, 3);
  split->setStretchFactor(1, 2);
  split->setSizes({420, 260});

  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(8, 6, 8, 6);
  layout->addLayout(bar);
  layout->addWidget(m_header);
  layout->addWidget(m_refusal);
  layout->addWidget(m_warning);
  // Four slots want more height than a small window has.
  auto* scroll = new QScrollArea;
  scroll->setObjectName(QStringLiteral("compare scroll"));
  scroll->setAccessibleName(tr("Slots and table"));
  scroll->setWidgetResizable(true);
  scroll->setFrameShape(QFrame::NoFrame);
  scroll->setHorizontalScrollBarPolicy(Qt::ScrollBarAlwaysOff);
  scroll->setFocusPolicy(Qt::NoFocus);
  scroll->setWidget(split);
  layout->addWidget(scroll, 1);

  connect(m_grid, &View::exportRequested, this, [this](View* chosen) { askAndExport(*chosen, this); });
  connect(m_differenceButton, &QPushButton::toggled, this, &ComparePage::setDifference);
  connect(m_swap, &QPushButton::clicked, this, &ComparePage::swapCurrent);
  connect(m_referenceBox, &QComboBox::currentIndexChanged, this, &ComparePage::setReference);
  connect(m_quantity, &QComboBox::currentIndexChanged, this, &ComparePage::refresh);
  connect(m_paste, &QPushButton::clicked, this, [this] {
    const QStringList wrong = pastePlans(QApplication::clipboard()->text());
    if (wrong.isEmpty()) return;
    m_warning->setText(tr("not understood, of another model, or no slot left: %1").arg(wrong.mid(0, 4).join(QStringLiteral(" | ")).left(300)));
    m_warning->show();
  });
}

void ComparePage::buildCard(int slot, Selection* selection) {
  Card& card = m_cards[static_cast<size_t>(slot)];
  const QString letter = slotLetter(slot);
  card.box = new QWidget;
  card.badge = new QLabel;
  card.badge->setObjectName(QStringLiteral("slot %1 badge").arg(letter));
  card.name = new QLabel;
  card.name->setTextFormat(Qt::PlainText);
  card.name->setSizePolicy(QSizePolicy::Ignored, QSizePolicy::Preferred);
  card.plans = new QComboBox;
  card.plans->setObjectName(QStringLiteral("slot %1 plan").arg(letter));
  card.plans->setAccessibleName(tr("Plan in slot %1").arg(letter));
  card.plans->setSizeAdjustPolicy(QComboBox::AdjustToMinimumContentsLengthWithIcon);
  card.plans->setMinimumContentsLength(7);
  card.evaluate = new QPushButton(tr("Evaluate"));
  card.evaluate->setObjectName(QStringLiteral("slot %1 evaluate").arg(letter));
  card.clear = new QToolButton;
  card.clear->setText(QStringLiteral("✕"));
  card.clear->setAutoRaise(true);
  card.clear->setToolTip(tr("Clear slot %1").arg(letter));
  card.clear->setObjectName(QStringLiteral("slot %1 clear").arg(letter));
  card.clear->setAccessibleName(tr("Clear slot %1").arg(letter));
  card.stack = new QStackedWidget;
  card.note = new QLabel;
  card.note->setAlignment(Qt::AlignCenter);
  card.note->setWordWrap(true);
  card.note->setTextFormat(Qt::PlainText);
  card.note->setStyleSheet(QStringLiteral("border: 1px dashed palette(mid);"));
  card.map = new RecallMap;
  card.map->setObjectName(QStringLiteral("slot %1 map").arg(letter));
  card.map->setAccessibleName(tr("Recall of slot %1").arg(letter));
  card.difference = new DifferenceMap;
  card.difference->setObjectName(QStringLiteral("slot %1 difference").arg(letter));
  card.stack->addWidget(card.note);
  card.stack->addWidget(card.map);
  card.stack->addWidget(card.difference);
  auto* row = new QHBoxLayout;
  row->addWidget(card.badge);
  row->addWidget(card.name, 1);
  row->addWidget(card.plans);
  row->addWidget(card.evaluate);
  row->addWidget(card.clear);
  auto* layout = new QVBoxLayout(card.box);
  layout->setContentsMargins(0, 0, 0, 0);
  layout->setSpacing(3);
  layout->addLayout(row);
  layout->addWidget(card.stack, 1);
  m_cardsLayout->addWidget(card.box, slot / 2, slot % 2);
  for (View* view : std::initializer_list<View*>{card.map, card.difference}) {
    view->setSelection(selection);
    view->installEventFilter(this);
    connect(view, &View::exportRequested, this, [this](View* chosen) { askAndExport(*chosen, this); });
  }
  card.badge->installEventFilter(this);
  card.note->installEventFilter(this);
  connect(card.plans, &QComboBox::activated, this, [this, slot](int index) {
    if (m_filling) return;
    const QString plan = m_cards[static_cast<size_t>(slot)].plans->itemData(index).toString();
    if (plan.isEmpty()) return;
    CompareSlot changed = m_workspace->slot(slot);
    if (changed.run.isEmpty()) changed.run = m_workspace->currentRun();
    changed.plan = plan;
    const QString text = m_cards[static_cast<size_t>(slot)].plans->itemText(index);
    changed.label = text.left(text.indexOf(u':') > 0 ? text.indexOf(u':') : 40);
    m_workspace->setSlot(slot, changed);
  });
  connect(card.evaluate, &QPushButton::clicked, this, [this, slot] { evaluate(slot); });
  connect(card.clear, &QToolButton::clicked, this, [this, slot] { m_workspace->clearSlot(slot); });
}

}  // namespace flashmorph
