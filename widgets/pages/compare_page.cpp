// SPDX-License-Identifier: GPL-3.0-or-later
// The Compare page: which slots can be compared, and what the comparison says. The look is built in
// compare_page_look.cpp.
#include "widgets/pages/compare_page.h"

#include <algorithm>
#include <cmath>

#include <QApplication>
#include <QClipboard>
#include <QComboBox>
#include <QKeyEvent>
#include <QLabel>
#include <QPushButton>
#include <QRegularExpression>
#include <QSignalBlocker>
#include <QStackedWidget>
#include <QToolButton>

#include "core/run/error.h"
#include "widgets/format/format.h"
#include "widgets/pages/run_values.h"
#include "widgets/views/color_scale.h"
#include "widgets/views/difference_map.h"
#include "widgets/views/plan_grid.h"
#include "widgets/views/recall_map.h"
#include "widgets/views/slot_style.h"

namespace flashmorph {

ComparePage::ComparePage(EngineClient* client, RunStore* store, Workspace* workspace, Selection* selection, QWidget* parent)
    : QWidget(parent), m_client(client), m_store(store), m_workspace(workspace) {
  setObjectName(QStringLiteral("compare page"));
  setAccessibleName(tr("Compare plans"));
  build(selection);
  m_due.setSingleShot(true);
  m_due.setInterval(100);
  connect(&m_due, &QTimer::timeout, this, &ComparePage::refresh);
  const auto later = [this] {
    if (!m_due.isActive()) m_due.start();
  };
  connect(store, &RunStore::runAdded, this, later);
  connect(store, &RunStore::runChanged, this, later);
  connect(store, &RunStore::runRemoved, this, later);
  connect(store, &RunStore::cellsChanged, this, later);
  connect(workspace, &Workspace::slotsChanged, this, &ComparePage::refresh);
  connect(workspace, &Workspace::currentSlotChanged, this, &ComparePage::refresh);
  connect(workspace, &Workspace::currentRunChanged, this, later);
  connect(workspace, &Workspace::restored, this, &ComparePage::refresh);
  refresh();
}

std::optional<ComparePage::Shown> ComparePage::shownOf(int index) {
  const CompareSlot& slot = m_workspace->slot(index);
  if (slot.isEmpty()) return {};
  Shown shown;
  shown.slot = index;
  shown.run = m_store->run(slot.run);
  try {
    shown.plan = LayerPlan::parse(slot.plan.toStdString());
  } catch (const Error&) {
    return {};
  }
  shown.name = slot.label.isEmpty() ? tr("K %1").arg(shown.plan.budget()) : slot.label;
  shown.set = slot.set;
  if (!shown.run) return shown;
  const auto sets = m_store->evalSets(slot.run);
  if (shown.set.isEmpty() && !sets.empty()) shown.set = QString::fromStdString(sets.back().name);
  for (const EvalSet& set : sets)
    if (QString::fromStdString(set.name) == shown.set) {
      shown.setHash = QString::fromStdString(set.hash());
      const RecallGrid* known = m_store->grid(slot.run, shown.set, shown.plan, slot.weights);
      shown.grid = std::make_shared<RecallGrid>(known ? *known : set.empty_grid());
    }
  return shown;
}

void ComparePage::fillPlans(Card& card, const CompareSlot& slot) {
  card.plans->clear();
  const QString run = slot.run.isEmpty() ? m_workspace->currentRun() : slot.run;
  const Run* from = m_store->run(run);
  if (!from || from->layers() < 1) {
    card.plans->addItem(tr("no run"), QString());
    return;
  }
  const auto add = [&](const QString& text, const LayerPlan& plan) {
    const QString key = QString::fromStdString(plan.to_string());
    if (card.plans->findData(key) < 0) card.plans->addItem(text, key);
  };
  card.plans->addItem(tr("pick a plan..."), QString());
  for (const SavedPlan& plan : from->record.plans)
    add(QStringLiteral("%1: %2").arg(plan.name.empty() ? QString::fromStdString(plan.id) : QString::fromStdString(plan.name), format::layers(plan.plan)), plan.plan);
  add(tr("teacher (all full)"), LayerPlan::all_full(from->layers()));
  add(tr("all linear"), LayerPlan::all_linear(from->layers()));
  for (const EvalSet& set : m_store->evalSets(run))
    for (const LayerPlan& plan : m_store->evaluatedPlans(run, QString::fromStdString(set.name))) add(tr("K %1: %2").arg(plan.budget()).arg(format::layers(plan)), plan);
  if (!slot.plan.isEmpty() && card.plans->findData(slot.plan) < 0) card.plans->addItem(slot.plan.mid(slot.plan.indexOf(u':') + 1), slot.plan);
  card.plans->setCurrentIndex(std::max(0, card.plans->findData(slot.plan)));
}

void ComparePage::showCard(int index, const std::optional<Shown>& shown, const std::optional<Shown>& reference) {
  Card& card = m_cards[static_cast<size_t>(index)];
  const CompareSlot& slot = m_workspace->slot(index);
  m_filling = true;
  fillPlans(card, slot);
  m_filling = false;
  const bool current = m_workspace->currentSlot() == index;
  const QColor color = slotColor(index);
  card.badge->setText(slotLetter(index) + (index == m_reference ? tr(" ref") : QString()));
  card.badge->setStyleSheet(QStringLiteral("background:%1; color:%2; font-weight:bold; padding:1px 7px; border:%3px solid palette(text);").arg(color.name(), (contrast(color, Qt::white) > 4.5 ? QStringLiteral("white") : QStringLiteral("black"))).arg(current ? 2 : 0));
  card.clear->setEnabled(shown.has_value());
  card.evaluate->setEnabled(false);
  card.evaluate->setVisible(shown && shown->run);
  const auto note = [&](const QString& text) {
    card.note->setText(text);
    card.stack->setCurrentIndex(0);
  };
  if (!shown) {
    card.name->setText(tr("empty"));
    return note(tr("press C on Select, pick a plan above,\nor paste a list"));
  }
  card.name->setText(shown->name + QStringLiteral(", ") + (shown->run ? shown->run->displayName() : tr("run not open")));
  if (!shown->run) return note(tr("the run of this slot is not open"));
  if (!shown->grid) return note(tr("no eval set in this run yet: evaluate a plan on Select"));
  card.evaluate->setVisible(!shown->grid->complete());
  card.evaluate->setEnabled( m_client && m_client->isReady() && !m_client->isReplay());
  card.evaluate->setText(card.failure.isEmpty() ? tr("Evaluate") : tr("Retry"));
  if (!card.failure.isEmpty() && shown->grid->trials_run() == 0) return note(card.failure);
  const QString numbers = shown->grid->trials_run() ? tr("mean %1, %2 of %3 trials").arg(format::number(shown->grid->mean_score(), 3), format::count(shown->grid->trials_run()), format::count(static_cast<int64_t>(shown->grid->cells.size()) * shown->grid->trials)) : tr("not evaluated");
  if (m_difference && index != m_reference && reference && reference->grid && refusalText().isEmpty()) {
    const QString x = slotLetter(index), r = slotLetter(m_reference);
    card.difference->setData(shown->grid, reference->grid, x, r);
    card.difference->setTrainedLength(trainedLength(shown->run->record));
    card.difference->setTitle(tr("%1 − %2 on %3").arg(x, r, shown->set), shown->grid->same_axes(*reference->grid) ? pairedText(compare(*shown->grid, *reference->grid), x, r) : QString());
    card.stack->setCurrentWidget(card.difference);
    return;
  }
  card.map->setQuantity(m_quantity->currentIndex() == 1 ? RecallQuantity::nll : RecallQuantity::score);
  card.map->setData(shown->grid);
  card.map->setTrainedLength(trainedLength(shown->run->record));
  card.map->setTitle(tr("%1, %2, K %3").arg(shown->set, slot.weights).arg(shown->plan.budget()), numbers);
  card.stack->setCurrentWidget(card.map);
}

void ComparePage::refresh() {
  std::array<std::optional<Shown>, Workspace::kSlots> all;
  std::vector<Shown> shown;
  for (int i = 0; i < Workspace::kSlots; ++i) {
    all[static_cast<size_t>(i)] = shownOf(i);
    if (all[static_cast<size_t>(i)]) shown.push_back(*all[static_cast<size_t>(i)]);
  }
  if (!all[static_cast<size_t>(m_reference)] && !shown.empty()) m_reference = shown.front().slot;
  const auto& reference = all[static_cast<size_t>(m_reference)];

  QStringList refused, warned;
  for (const Shown& one : shown) {
    if (!reference || one.slot == m_reference || !one.run || !reference->run) continue;
    const QString pair = tr("%1 and %2").arg(slotLetter(m_reference), slotLetter(one.slot));
    const QString a = teacherId(reference->run->record), b = teacherId(one.run->record);
    if (one.plan.layers != reference->plan.layers) refused += tr("%1 are not compared: their teachers have %2 and %3 layers.").arg(pair).arg(reference->plan.layers).arg(one.plan.layers);
    else if (a != b) refused += tr("%1 are not compared: different teachers (%2 and %3).").arg(pair, a.isEmpty() ? tr("unknown") : a.left(8), b.isEmpty() ? tr("unknown") : b.left(8));
    else if (one.setHash != reference->setHash) refused += tr("%1 are not compared: different eval sets (%2 and %3); pick plans evaluated on one set.").arg(pair, reference->set.isEmpty() ? tr("none") : reference->set, one.set.isEmpty() ? tr("none") : one.set);
    else {
      const Run* wa = m_store->evaluationsRun(reference->run->uuid);
      const Run* wb = m_store->evaluationsRun(one.run->uuid);
      const QString kindA = m_workspace->slot(m_reference).weights, kindB = m_workspace->slot(one.slot).weights;
      if (kindA != kindB) warned += tr("%1 have different weights (%2 and %3): the difference is not of the plans alone.").arg(pair, kindA, kindB);
      else if (wa && wb && wa != wb) warned += tr("%1 have weights of different runs (%2 and %3): the difference is not of the plans alone.").arg(pair, wa->displayName(), wb->displayName());
    }
  }
  m_refusal->setText(refused.join(u'\n'));
  m_refusal->setVisible(!refused.isEmpty());
  m_warning->setText(warned.join(u'\n'));
  m_warning->setVisible(!warned.isEmpty());

  QStringList header;
  if (refused.isEmpty() && reference && reference->grid)
    for (const Shown& one : shown)
      if (one.slot != m_reference && one.grid && one.grid->same_axes(*reference->grid)) {
        const PairedStatistics paired = compare(*one.grid, *reference->grid);
        header += pairedText(paired, slotLetter(one.slot), slotLetter(m_reference)) + (paired.trials ? QStringLiteral("; ") + hitsText(paired, slotLetter(one.slot), slotLetter(m_reference)) : QString());
      }
  m_header->setText(header.isEmpty() ? tr("Fill two slots to compare: press C on Select, or pick plans below.") : header.join(u'\n'));

  double nllTop = 0, range = 0;
  for (const Shown& one : shown)
    if (one.grid)
      for (size_t i = 0; i < one.grid->cells.size(); ++i) {
        const RecallCell& cell = one.grid->cells[i];
        if (std::isfinite(cell.nll_nats)) nllTop = std::max(nllTop, cell.nll_nats);
        if (refused.isEmpty() && reference && reference->grid && one.grid->same_axes(*reference->grid)) {
          const PairedStatistics paired = compare(cell, reference->grid->cells[i]);
          if (paired.trials) range = std::max(range, std::abs(paired.mean_difference));
        }
      }
  const int cards = std::max<int>(2, shown.empty() ? 2 : shown.back().slot + 1);
  for (int i = 0; i < Workspace::kSlots; ++i) {
    Card& card = m_cards[static_cast<size_t>(i)];
    card.box->setVisible(i < cards);
    card.map->setNllTop(std::ceil(nllTop));  // one scale for all
    card.difference->setRange(std::max(0.1, std::ceil(range * 10 - 1e-9) / 10));
    showCard(i, all[static_cast<size_t>(i)], reference);
  }
  const QSignalBlocker quietBox(m_referenceBox), quietButton(m_differenceButton);
  m_referenceBox->setCurrentIndex(m_reference);
  m_differenceButton->setChecked(m_difference);
  std::vector<PlanGridRow> rows;
  for (const Shown& one : shown) rows.push_back({one.slot, one.name, one.plan});
  m_grid->setData(std::move(rows));
  showTable(shown);
}

void ComparePage::showTable(const std::vector<Shown>& shown) {
  if (shown.empty()) return m_table->setData({}, {});
  QStringList names;
  std::vector<CompareRow> rows;
  const auto row = [&](const QString& quantity, const QString& unit, auto&& textOf) {
    CompareRow made{quantity, unit, {}};
    for (const Shown& one : shown) made.texts.push_back(textOf(one));
    rows.push_back(std::move(made));
  };
  const QString none = QStringLiteral("-");
  // Means over cells that every slot has, so that they compare.
  std::vector<size_t> common;
  if (!shown.empty() && shown.front().grid && refusalText().isEmpty())
    for (size_t i = 0; i < shown.front().grid->cells.size(); ++i)
      if (std::all_of(shown.begin(), shown.end(), [i](const Shown& one) { return one.grid && i < one.grid->cells.size() && one.grid->cells[i].trials > 0; })) common.push_back(i);
  for (const Shown& one : shown) names += slotLetter(one.slot) + QStringLiteral(": ") + one.name;
  row(tr("layers kept full"), tr("layers"), [](const Shown& one) { return QString::number(one.plan.budget()); });
  row(tr("full layers"), {}, [](const Shown& one) { return format::layers(one.plan); });
  row(tr("mean recall over %1").arg(format::counted(static_cast<int64_t>(common.size()), tr("common cell"))), QStringLiteral("1"), [&](const Shown& one) {
    double sum = 0;
    for (const size_t i : common) sum += one.grid->cells[i].score;
    return common.empty() ? none : format::number(sum / static_cast<double>(common.size()), 3);
  });
  row(tr("mean NLL over common cells"), tr("nat/token"), [&](const Shown& one) {
    double sum = 0;
    for (const size_t i : common) sum += one.grid->cells[i].nll_nats;
    return common.empty() ? none : format::number(sum / static_cast<double>(common.size()), 3);
  });
  row(tr("worst cell"), QStringLiteral("1"), [&](const Shown& one) {
    const auto worst = one.grid ? one.grid->worst() : RecallGrid::Worst{};
    return worst.length_index < 0 ? none : tr("%1 at %2, depth %3").arg(format::number(worst.score, 2), format::tokens(one.grid->lengths[static_cast<size_t>(worst.length_index)]), format::percent(one.grid->depths[static_cast<size_t>(worst.depth_index)]));
  });
  row(tr("KV cache"), tr("per token"), [&](const Shown& one) {
    const auto bytes = one.run ? kvBytesPerToken(one.run->record, one.plan.budget()) : std::nullopt;
    return bytes ? format::kibibytes(*bytes) : none;
  });
  row(tr("full layers shared with %1").arg(slotLetter(m_reference)), tr("layers"), [&](const Shown& one) {
    const auto reference = std::find_if(shown.begin(), shown.end(), [this](const Shown& other) { return other.slot == m_reference; });
    if (reference == shown.end()) return none;
    const auto shared = std::count_if(one.plan.full.begin(), one.plan.full.end(), [&](int l) { return reference->plan.is_full(l); });
    return tr("%1 of %2").arg(shared).arg(reference->plan.budget());
  });
  row(tr("weights"), {}, [this](const Shown& one) { return m_workspace->slot(one.slot).weights; });
  row(tr("run"), {}, [](const Shown& one) { return one.run ? one.run->displayName() : tr("not open"); });
  row(tr("method"), {}, [&](const Shown& one) { return one.run && !one.run->method.isEmpty() ? one.run->method : none; });
  // Hyper-parameters any of the runs has.
  std::vector<std::string> keys;
  for (const Shown& one : shown)
    if (one.run && one.run->record.config.is_object())
      for (const auto& [key, value] : one.run->record.config.items())
        if (key != "run" && key != "runs" && key != "plans" && std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  for (const std::string& key : keys)
    row(QString::fromStdString(key), {}, [&](const Shown& one) {
      if (!one.run || !one.run->record.config.is_object() || !one.run->record.config.contains(key)) return none;
      const auto& value = one.run->record.config[key];
      return QString::fromStdString(value.is_string() ? value.get<std::string>() : value.dump());
    });
  m_table->setData(names, std::move(rows));
}

void ComparePage::setDifference(bool on) {
  m_difference = on;
  refresh();
}

void ComparePage::setReference(int slot) {
  m_reference = std::clamp(slot, 0, Workspace::kSlots - 1);
  refresh();
}

void ComparePage::swapCurrent() {
  const int current = m_workspace->currentSlot();
  m_workspace->swapSlots(m_reference, current != m_reference ? current : m_reference == 0 ? 1 : 0);
}

QString ComparePage::headerText() const { return m_header->text(); }
QString ComparePage::refusalText() const { return m_refusal->text(); }
QString ComparePage::warningText() const { return m_warning->text(); }
QString ComparePage::slotNote(int slot) const {
  const Card& card = m_cards[static_cast<size_t>(slot)];
  return card.stack->currentIndex() == 0 ? card.note->text() : QString();
}

QString ComparePage::commandLine() const {
  const CompareSlot& reference = m_workspace->slot(m_reference);
  const Run* run = m_store->run(reference.run);
  if (!run || reference.isEmpty()) return {};
  try {
    RunConfig config = default_config("compare");
    config.command = "compare";
    config.run = run->path.toStdString();
    config.set = reference.set.toStdString();
    config.weights = reference.weights.toStdString();
    config.plans = {reference.plan.toStdString()};
    for (int i = 0; i < Workspace::kSlots; ++i)
      if (const CompareSlot& slot = m_workspace->slot(i); i != m_reference && !slot.isEmpty() && slot.run == reference.run) config.plans.push_back(slot.plan.toStdString());
    return QString::fromStdString(command_line(config));
  } catch (const std::exception&) {
    return {};
  }
}

QStringList ComparePage::pastePlans(const QString& text) {
  QStringList wrong;
  const Run* run = m_store->run(m_workspace->currentRun());
  int next = 0;
  for (const QString& raw : text.split(u'\n')) {
    const QString line = raw.trimmed();
    if (line.isEmpty() || line.startsWith(u'#')) continue;
    static const QRegularExpression form(QStringLiteral("(\\d+:[\\d,\\-]*)\\s*$"));
    const auto match = form.match(line);
    try {
      LayerPlan plan;
      QString name;
      if (match.hasMatch()) {
        plan = LayerPlan::parse(match.captured(1).toStdString());
        name = line.left(match.capturedStart(1)).trimmed();
      } else if (run) {  // bare layers of the current run: "1, 11, 12"
        std::vector<int> layers;
        for (const QString& word : line.split(QRegularExpression(QStringLiteral("[,\\s\\[\\]]+")), Qt::SkipEmptyParts)) {
          bool ok = false;
          layers.push_back(word.toInt(&ok));
          if (!ok) throw Error("run", ErrorCode::bad_request, "no plan");
        }
        plan = LayerPlan::of(run->layers(), layers);
      }
      if (!run || plan.layers != run->layers()) throw Error("run", ErrorCode::plan_impossible, "other model");
      while (next < Workspace::kSlots && !m_workspace->slot(next).isEmpty()) ++next;
      if (next >= Workspace::kSlots) throw Error("run", ErrorCode::bad_request, "no slot left");
      m_workspace->setSlot(next, {run->uuid, QString::fromStdString(plan.to_string()), {}, QStringLiteral("aligned"), name});
    } catch (const Error&) {
      wrong += line;
    }
  }
  return wrong;
}

void ComparePage::evaluate(int index) {
  const CompareSlot slot = m_workspace->slot(index);
  if (slot.isEmpty() || !m_client) return;
  nlohmann::json params{{"run", m_store->engineName(slot.run).toStdString()}, {"plan", slot.plan.toStdString()}, {"weights", slot.weights.toStdString()}};
  const auto shown = shownOf(index);
  if (shown && !shown->set.isEmpty()) params["set"] = shown->set.toStdString();
  m_cards[static_cast<size_t>(index)].failure.clear();
  m_client->call(QStringLiteral("eval.start"), params, this, [this, index](const Reply& reply) {
    if (!reply.ok) m_cards[static_cast<size_t>(index)].failure = reply.failure.message + (reply.failure.hint.isEmpty() ? QString() : u'\n' + reply.failure.hint);
    refresh();
  });
}

void ComparePage::keyPressEvent(QKeyEvent* event) {
  if (event->modifiers() == Qt::NoModifier) switch (event->key()) {
      case Qt::Key_D: return setDifference(!m_difference);
      case Qt::Key_W: return swapCurrent();
      case Qt::Key_E: return evaluate(m_workspace->currentSlot());
      default: break;
    }
  QWidget::keyPressEvent(event);
}

bool ComparePage::eventFilter(QObject* watched, QEvent* event) {
  if (event->type() == QEvent::FocusIn || event->type() == QEvent::MouseButtonPress)
    for (int i = 0; i < Workspace::kSlots; ++i) {
      const Card& card = m_cards[static_cast<size_t>(i)];
      if ((watched == card.map || watched == card.difference || watched == card.badge || watched == card.note) && m_workspace->currentSlot() != i) m_workspace->setCurrentSlot(i);
    }
  return QWidget::eventFilter(watched, event);
}

}  // namespace flashmorph
