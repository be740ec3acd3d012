// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/docks/runs_dock.h"

#include <QAbstractButton>
#include <QColorDialog>
#include <QFile>
#include <QHeaderView>
#include <QLabel>
#include <QLineEdit>
#include <QMenu>
#include <QMessageBox>
#include <QPushButton>
#include <QSortFilterProxyModel>
#include <QTreeView>
#include <QVBoxLayout>

#include "widgets/docks/run_tree_model.h"
#include "widgets/state/run_store.h"
#include "widgets/state/workspace.h"

namespace flashmorph {

RunsDock::RunsDock(RunStore* store, Workspace* workspace, QWidget* parent)
    : QDockWidget(tr("Runs"), parent), m_store(store), m_workspace(workspace), m_model(new RunTreeModel(store, workspace, this)),
      m_proxy(new QSortFilterProxyModel(this)) {
  setObjectName(QStringLiteral("runsDock"));
  setAccessibleName(tr("Runs"));
  m_proxy->setSourceModel(m_model);
  m_proxy->setSortRole(RunTreeModel::SortRole);
  m_proxy->setRecursiveFilteringEnabled(true);
  m_proxy->setFilterCaseSensitivity(Qt::CaseInsensitive);
  m_proxy->setFilterKeyColumn(-1);
  auto* body = new QWidget;
  auto* layout = new QVBoxLayout(body);
  layout->setContentsMargins(4, 4, 4, 4);
  m_filter = new QLineEdit;
  m_filter->setObjectName(QStringLiteral("runsFilter"));
  m_filter->setAccessibleName(tr("Filter runs"));
  m_filter->setPlaceholderText(tr("Filter"));
  m_filter->setClearButtonEnabled(true);
  for (QAbstractButton* clear : m_filter->findChildren<QAbstractButton*>()) clear->setAccessibleName(tr("Clear the filter"));
  m_filter->setText(workspace->view(QStringLiteral("runs/filter")).toString());
  m_tree = new QTreeView;
  m_tree->setObjectName(QStringLiteral("runsTree"));
  m_tree->setAccessibleName(tr("Runs"));
  m_tree->setModel(m_proxy);
  m_tree->setSortingEnabled(true);
  m_tree->sortByColumn(0, Qt::AscendingOrder);
  m_tree->setEditTriggers(QAbstractItemView::EditKeyPressed);
  m_tree->setContextMenuPolicy(Qt::CustomContextMenu);
  m_tree->setUniformRowHeights(true);
  m_tree->setTextElideMode(Qt::ElideMiddle);
  m_tree->header()->setStretchLastSection(false);
  m_tree->header()->setSectionResizeMode(QHeaderView::ResizeToContents);
  // Names first: what does not fit beside them is scrolled to.
  m_tree->header()->setMinimumSectionSize(24);
  m_tree->header()->setMaximumSectionSize(220);
  m_tree->setIndentation(12);
  m_empty = new QLabel(tr("Train gates, or open a run."));
  m_empty->setWordWrap(true);
  m_empty->setAlignment(Qt::AlignCenter);
  layout->addWidget(m_filter);
  layout->addWidget(m_tree, 1);
  layout->addWidget(m_empty, 1);
  setWidget(body);
  m_proxy->setFilterFixedString(m_filter->text());
  connect(m_filter, &QLineEdit::textChanged, this, [this](const QString& text) {
    m_proxy->setFilterFixedString(text);
    m_workspace->setView(QStringLiteral("runs/filter"), text);
    m_tree->expandAll();
  });
  connect(m_model, &QAbstractItemModel::modelReset, this, [this] {
    m_tree->expandAll();
    showEmpty();
  });
  connect(m_tree, &QTreeView::clicked, this, [this] { m_workspace->setCurrentRun(selectedRun()); });
  connect(m_tree, &QTreeView::activated, this, [this] { m_workspace->setCurrentRun(selectedRun()); });
  connect(m_tree, &QWidget::customContextMenuRequested, this, &RunsDock::menuAt);
  connect(workspace, &Workspace::nameChanged, this, [this](const QString& uuid) {
    if (const Run* run = m_store->run(uuid)) m_store->annotate(uuid, m_workspace->name(uuid), run->notes);
  });
  m_tree->expandAll();
  showEmpty();
}

void RunsDock::showEmpty() {
  const bool empty = m_model->rowCount() == 0;
  m_empty->setVisible(empty);
  m_tree->setVisible(!empty);
}

QString RunsDock::selectedRun() const { return m_tree->currentIndex().data(RunTreeModel::UuidRole).toString(); }

void RunsDock::menuAt(const QPoint& point) {
  const QString uuid = m_proxy->mapToSource(m_tree->indexAt(point)).data(RunTreeModel::UuidRole).toString();
  const Run* run = m_store->run(uuid);
  if (!run) return;
  QMenu menu;
  menu.addAction(m_workspace->isPinned(uuid) ? tr("Unpin") : tr("Pin"), this, [this, uuid] { m_workspace->setPinned(uuid, !m_workspace->isPinned(uuid)); });
  menu.addAction(m_workspace->baseline() == uuid ? tr("Not the baseline any more") : tr("Make it the baseline"), this,
                 [this, uuid] { m_workspace->setBaseline(m_workspace->baseline() == uuid ? QString() : uuid); });
  menu.addAction(tr("Rename"), this, [this, uuid] { m_tree->edit(m_proxy->mapFromSource(m_model->indexOf(uuid))); });
  menu.addAction(tr("Color…"), this, [this, uuid] { m_workspace->setColor(uuid, QColorDialog::getColor(m_workspace->color(uuid), this)); });
  if (run->canResume()) menu.addAction(tr("Resume"), this, [this, uuid] { emit resumeAsked(uuid); });
  menu.addAction(tr("Compare"), this, [this, uuid] { emit compareAsked(uuid); });
  menu.addSeparator();
  menu.addAction(tr("Close (keep its folder)"), this, [this, uuid] { m_store->close(uuid); });
  QAction* remove = menu.addAction(tr("Move to trash…"), this, [this, uuid] { trash(uuid); });
  remove->setEnabled(run->host.isEmpty() && !run->live && !run->path.isEmpty());
  menu.exec(m_tree->viewport()->mapToGlobal(point));
}

void RunsDock::trash(const QString& uuid) {
  const Run* run = m_store->run(uuid);
  if (!run) return;
  QMessageBox box(QMessageBox::Warning, tr("Move to trash"), tr("Move the run %1 to the trash?").arg(run->displayName()), QMessageBox::NoButton, this);
  box.setInformativeText(run->path);
  const QAbstractButton* yes = box.addButton(tr("Move to trash"), QMessageBox::AcceptRole);
  box.setDefaultButton(box.addButton(QMessageBox::Cancel));
  box.exec();
  if (box.clickedButton() != yes) return;
  if (QFile::moveToTrash(run->path))
    m_store->close(uuid);
  else
    QMessageBox::warning(this, tr("Move to trash"), tr("%1 could not be moved to the trash; it is unchanged.").arg(run->path));
}

}  // namespace flashmorph
