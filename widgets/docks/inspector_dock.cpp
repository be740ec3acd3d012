// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/docks/inspector_dock.h"

#include <algorithm>

#include <QFrame>
#include <QLabel>
#include <QPlainTextEdit>
#include <QScrollArea>
#include <QVBoxLayout>

#include "core/run/budget_solver.h"
#include "widgets/format/format.h"
#include "widgets/state/run_store.h"
#include "widgets/state/selection.h"
#include "widgets/state/workspace.h"

namespace flashmorph {

namespace {

QString row(const QString& name, const QString& value) {
  return QStringLiteral("<tr><td style='padding-right:10px'>%1</td><td>%2</td></tr>").arg(name.toHtmlEscaped(), value.toHtmlEscaped());
}
QString section(const QString& title, const QString& rows) {
  return rows.isEmpty() ? QString() : QStringLiteral("<p style='margin-bottom:2px'><b>%1</b></p><table>%2</table>").arg(title.toHtmlEscaped(), rows);
}
// Whole, so that a command can be copied; what is nested is said in words that wrap.
QString wrapping(const nlohmann::json& value) {
  if (value.is_string()) return QString::fromStdString(value.get<std::string>());
  if (value.is_number_float()) return format::number(value.get<double>(), 4);
  if (!value.is_object()) return QString::fromStdString(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  QStringList parts;
  for (const auto& [key, one] : value.items()) {
    const QString text = wrapping(one);
    parts += QString::fromStdString(key).replace(u'_', u' ') + u' ' + (key.ends_with("sha256") ? text.left(12) : text);
  }
  return parts.join(QStringLiteral(", "));
}

}  // namespace

InspectorDock::InspectorDock(RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent)
    : QDockWidget(tr("Inspector"), parent), m_store(store), m_workspace(workspace), m_selection(selection) {
  setObjectName(QStringLiteral("inspectorDock"));
  setAccessibleName(tr("Inspector"));
  auto* scroll = new QScrollArea;
  scroll->setObjectName(QStringLiteral("inspectorScroll"));
  scroll->setAccessibleName(tr("Inspector"));
  scroll->setWidgetResizable(true);
  scroll->setFrameShape(QFrame::NoFrame);
  auto* body = new QWidget;
  auto* layout = new QVBoxLayout(body);
  layout->setContentsMargins(8, 4, 8, 4);
  const auto label = [&](const char* name, const QString& accessible) {
    auto* l = new QLabel;
    l->setObjectName(QLatin1String(name));
    l->setAccessibleName(accessible);
    l->setTextFormat(Qt::RichText);
    l->setWordWrap(true);
    l->setTextInteractionFlags(Qt::TextSelectableByMouse | Qt::TextSelectableByKeyboard);
    layout->addWidget(l);
    return l;
  };
  m_layer = label("inspectorLayer", tr("Selected layer"));
  m_cell = label("inspectorCell", tr("Selected cell"));
  m_run = label("inspectorRun", tr("Current run"));
  auto* title = new QLabel(tr("<b>Notes</b>"));
  layout->addWidget(title);
  m_notes = new QPlainTextEdit;
  m_notes->setObjectName(QStringLiteral("notes"));
  m_notes->setAccessibleName(tr("Notes of the run"));
  m_notes->setPlaceholderText(tr("Why this penalty, what to try next…"));
  m_notes->setTabChangesFocus(true);
  m_notes->setMinimumHeight(70);
  title->setBuddy(m_notes);
  layout->addWidget(m_notes, 1);
  scroll->setWidget(body);
  setWidget(scroll);
  m_soon.setSingleShot(true);
  m_soon.setInterval(100);
  connect(&m_soon, &QTimer::timeout, this, &InspectorDock::refresh);
  m_typing.setSingleShot(true);
  m_typing.setInterval(800);
  connect(&m_typing, &QTimer::timeout, this, &InspectorDock::storeNotes);
  connect(m_notes, &QPlainTextEdit::textChanged, this, [this] {
    if (!m_setting) m_typing.start();
  });
  const auto soon = [this] {
    if (!m_soon.isActive()) m_soon.start();
  };
  connect(selection, &Selection::layersChanged, this, soon);
  connect(selection, &Selection::hoveredLayerChanged, this, soon);
  connect(selection, &Selection::cellChanged, this, soon);
  connect(workspace, &Workspace::currentRunChanged, this, [this, soon] {
    if (m_typing.isActive()) storeNotes();
    soon();
  });
  connect(workspace, &Workspace::locksChanged, this, soon);
  connect(workspace, &Workspace::budgetChanged, this, soon);
  connect(workspace, &Workspace::slotsChanged, this, soon);
  connect(workspace, &Workspace::notesChanged, this, [this, soon](const QString& uuid) {
    if (const Run* run = m_store->run(uuid)) m_store->annotate(uuid, run->title, m_workspace->notes(uuid));
    m_notesOf.clear();
    soon();
  });
  connect(workspace, &Workspace::restored, this, soon);
  connect(store, &RunStore::runChanged, this, [this, soon](const QString& uuid) {
    if (uuid == m_workspace->currentRun()) soon();
  });
  connect(store, &RunStore::gatesAppended, this, soon);
  refresh();
}

void InspectorDock::storeNotes() {
  m_typing.stop();
  if (m_notesOf.isEmpty()) return;
  const QString of = m_notesOf;
  m_workspace->setNotes(of, m_notes->toPlainText().left(100'000));
  m_notesOf = of;
}

QString InspectorDock::layerText() const {
  const Run* run = m_store->run(m_workspace->currentRun());
  if (!run || run->layers() == 0) return {};
  if (m_selection->layers().size() > 1) {
    LayerPlan some;
    some.layers = run->layers();
    for (const int layer : m_selection->layers()) some.full.push_back(layer);
    return section(tr("%1 layers selected").arg(m_selection->layers().size()), row(tr("layers"), format::layers(some)));
  }
  const int layer = m_selection->layers().empty() ? m_selection->hoveredLayer() : *m_selection->layers().begin();
  if (layer < 0 || layer >= run->layers()) return {};
  const size_t l = static_cast<size_t>(layer), L = static_cast<size_t>(run->layers());
  QString rows;
  const RunRecord& record = run->record;
  if (record.gates.alpha.size() >= L) rows += row(tr("gate now"), format::number(static_cast<double>(record.gates.alpha[record.gates.alpha.size() - L + l])));
  const GateScore score = run->score();
  if (score.score.size() == L) {
    const std::vector<int> order = rank_order(score.score, score.tie_break);
    rows += row(tr("score"), format::number(score.score[l], 3));
    rows += row(tr("rank"), QStringLiteral("%1 / %2").arg(std::find(order.begin(), order.end(), layer) - order.begin() + 1).arg(L));
  }
  if (record.layer.error.size() == L) rows += row(tr("error"), format::number(static_cast<double>(record.layer.error[l]), 3));
  const Lock lock = m_workspace->locks(run->uuid, run->layers())[l];
  rows += row(tr("lock"), lock == Lock::full ? tr("full") : lock == Lock::linear ? tr("linear") : tr("free"));
  QStringList in;
  for (int i = 0; i < Workspace::kSlots; ++i) {
    const CompareSlot& slot = m_workspace->slot(i);
    if (slot.isEmpty()) continue;
    try {
      const LayerPlan plan = LayerPlan::parse(slot.plan.toStdString());
      in << (plan.is_full(layer) ? QString(QChar(u'A' + i)) : QStringLiteral("."));
    } catch (const std::exception&) {
      in << QStringLiteral("?");
    }
  }
  if (!in.isEmpty()) rows += row(tr("full in"), in.join(u' '));
  return section(tr("Layer %1").arg(layer), rows);
}

QString InspectorDock::cellText() const {
  const CellRef cell = m_selection->cell();
  const Run* run = m_store->run(m_workspace->currentRun());
  if (!run || !cell.isValid()) return {};
  const std::vector<EvalSet> sets = m_store->evalSets(run->uuid);
  if (sets.empty()) return {};
  const QString wanted = m_workspace->view(QStringLiteral("select/set")).toString();
  const auto it = std::find_if(sets.begin(), sets.end(), [&](const EvalSet& s) { return QString::fromStdString(s.name) == wanted; });
  const EvalSet& set = it == sets.end() ? sets.front() : *it;
  if (cell.length >= static_cast<int>(set.lengths.size()) || cell.depth >= static_cast<int>(set.depths.size())) return {};
  const QString rows = row(tr("length"), format::tokens(set.lengths[static_cast<size_t>(cell.length)])) +
                       row(tr("depth"), format::percent(set.depths[static_cast<size_t>(cell.depth)])) + row(tr("set"), QString::fromStdString(set.name));
  return section(tr("Cell"), rows);
}

QString InspectorDock::runText() const {
  const Run* run = m_store->run(m_workspace->currentRun());
  if (!run) return QStringLiteral("<p>%1</p>").arg(tr("No run selected."));
  QString rows = row(tr("name"), run->displayName()) + row(tr("kind"), QString::fromStdString(run->record.kind));
  if (!run->method.isEmpty()) rows += row(tr("method"), run->method);
  rows += row(tr("state"), run->problem.isEmpty() ? QString::fromStdString(run->record.state) : run->problem);
  rows += row(tr("layers"), QString::number(run->layers()));
  if (!run->record.steps.step.empty()) rows += row(tr("steps"), run->totalSteps > 0 ? QStringLiteral("%1 / %2").arg(run->record.steps.step.back()).arg(run->totalSteps) : QString::number(run->record.steps.step.back()));
  rows += row(tr("made"), QString::fromStdString(run->record.created_utc).replace(u'T', u' ').replace(u'Z', QStringLiteral(" UTC")));
  rows += row(tr("by"), QString::fromStdString(run->record.generator));
  rows += row(tr("uuid"), run->uuid.left(8));
  rows += row(tr("revision"), QString::number(run->record.revision));
  rows += row(tr("folder"), run->displayPath());
  QString text = section(tr("Run"), rows);
  QString provenance;
  if (run->record.provenance.is_object())
    for (const auto& [key, value] : run->record.provenance.items())
      if (!value.is_object() || !value.empty()) provenance += row(QString::fromStdString(key).replace(u'_', u' '), key.ends_with("sha256") ? wrapping(value).left(12) : wrapping(value));
  return text + section(tr("Provenance"), provenance);
}

void InspectorDock::refresh() {
  const auto show = [](QLabel* label, const QString& text) {
    if (label->text() != text) label->setText(text);
    label->setVisible(!text.isEmpty());
  };
  show(m_layer, layerText());
  show(m_cell, cellText());
  show(m_run, runText());
  const Run* run = m_store->run(m_workspace->currentRun());
  m_notes->setEnabled(run != nullptr);
  if (run && m_notesOf != run->uuid && !m_typing.isActive()) {
    m_notesOf = run->uuid;
    const QString notes = m_workspace->notes(run->uuid).isEmpty() ? run->notes : m_workspace->notes(run->uuid);
    if (m_notes->toPlainText() != notes) {
      m_setting = true;
      m_notes->setPlainText(notes);
      m_setting = false;
    }
  }
}

}  // namespace flashmorph
