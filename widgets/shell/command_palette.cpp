// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/shell/command_palette.h"

#include <algorithm>

#include <QAction>
#include <QKeyEvent>
#include <QLineEdit>
#include <QListWidget>
#include <QVBoxLayout>

namespace flashmorph {

CommandPalette::CommandPalette(const QList<QAction*>& actions, QWidget* parent) : QDialog(parent) {
  setObjectName(QStringLiteral("commandPalette"));
  setWindowTitle(tr("Commands"));
  setAccessibleName(tr("Commands"));
  for (QAction* action : actions) m_actions << action;
  m_edit = new QLineEdit(this);
  m_edit->setObjectName(QStringLiteral("commandText"));
  m_edit->setAccessibleName(tr("Command"));
  m_edit->setPlaceholderText(tr("Type a few letters of a command"));
  m_list = new QListWidget(this);
  m_list->setObjectName(QStringLiteral("commandList"));
  m_list->setAccessibleName(tr("Matching commands"));
  auto* layout = new QVBoxLayout(this);
  layout->addWidget(m_edit);
  layout->addWidget(m_list);
  resize(560, 380);
  m_edit->installEventFilter(this);
  connect(m_edit, &QLineEdit::textChanged, this, &CommandPalette::filter);
  connect(m_edit, &QLineEdit::returnPressed, this, &CommandPalette::run);
  connect(m_list, &QListWidget::itemActivated, this, &CommandPalette::run);
  filter({});
}

int CommandPalette::rank(const QString& text, const QString& wanted) {
  int cost = 0;
  qsizetype at = 0;
  for (const QChar letter : wanted) {
    if (letter.isSpace()) continue;
    const qsizetype found = text.indexOf(letter, at, Qt::CaseInsensitive);
    if (found < 0) return -1;
    const bool wordStart = found == 0 || !text[found - 1].isLetterOrNumber();
    cost += static_cast<int>(found - at) + (wordStart ? 0 : 1);
    at = found + 1;
  }
  return cost;
}

void CommandPalette::filter(const QString& text) {
  struct Match {
    int cost;
    qsizetype index;
  };
  std::vector<Match> matches;
  for (qsizetype i = 0; i < m_actions.size(); ++i) {
    if (!m_actions[i] || !m_actions[i]->isVisible() || m_actions[i]->isSeparator()) continue;
    const int cost = rank(m_actions[i]->text().remove(u'&'), text);
    if (cost >= 0) matches.push_back({cost, i});
  }
  std::stable_sort(matches.begin(), matches.end(), [](const Match& a, const Match& b) { return a.cost < b.cost; });
  m_list->clear();
  for (const Match& match : matches) {
    const QAction* action = m_actions[match.index];
    QString name = action->text().remove(u'&').remove(QStringLiteral("…"));
    const QString keys = action->shortcut().toString(QKeySequence::NativeText);
    if (!keys.isEmpty()) name += QStringLiteral("    [%1]").arg(keys);
    auto* item = new QListWidgetItem(name, m_list);
    item->setData(Qt::UserRole, static_cast<int>(match.index));
    // A command that cannot run now says why, if it knows.
    if (!action->isEnabled()) {
      item->setFlags(item->flags() & ~Qt::ItemIsEnabled);
      item->setToolTip(action->toolTip());
    }
  }
  m_list->setCurrentRow(0);
}

bool CommandPalette::eventFilter(QObject* object, QEvent* event) {
  if (object == m_edit && event->type() == QEvent::KeyPress) {
    const int key = static_cast<QKeyEvent*>(event)->key();
    const int step = key == Qt::Key_Down ? 1 : key == Qt::Key_Up ? -1 : key == Qt::Key_PageDown ? 8 : key == Qt::Key_PageUp ? -8 : 0;
    if (step != 0) {
      m_list->setCurrentRow(std::clamp(m_list->currentRow() + step, 0, std::max(0, m_list->count() - 1)));
      return true;
    }
  }
  return QDialog::eventFilter(object, event);
}

void CommandPalette::run() {
  const QListWidgetItem* item = m_list->currentItem();
  if (!item || !(item->flags() & Qt::ItemIsEnabled)) return;
  const QPointer<QAction> action = m_actions[item->data(Qt::UserRole).toInt()];
  accept();
  if (action) action->trigger();
}

}  // namespace flashmorph
