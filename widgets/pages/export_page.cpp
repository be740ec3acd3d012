// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/pages/export_page.h"

#include <QComboBox>
#include <QDir>
#include <QFileDialog>
#include <QFormLayout>
#include <QHeaderView>
#include <QLabel>
#include <QPushButton>
#include <QTableWidget>
#include <QVBoxLayout>

#include "core/run/error.h"
#include "widgets/pages/plan_choice.h"
#include "widgets/pages/plan_export.h"
#include "widgets/state/run_store.h"
#include "widgets/state/workspace.h"

namespace flashmorph {

using nlohmann::json;

namespace {

QString word(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? QString::fromStdString(it->get<std::string>()) : QString();
}

}  // namespace

ExportPage::ExportPage(EngineClient* client, RunStore* store, Workspace* workspace, Selection*, QWidget* parent)
    : QWidget(parent), m_client(client), m_store(store), m_workspace(workspace) {
  m_targets = {{QStringLiteral("transformers"), tr("Stock transformers class (Qwen3.5)"), {}, {}},
               {QStringLiteral("fla"), tr("flash-linear-attention model"), {}, {}},
               {QStringLiteral("hypenet"), tr("HypeNet schema with our modeling file"), {}, {}},
               {QStringLiteral("gguf"), tr("GGUF for llama.cpp (qwen35)"), {}, {}},
               {QStringLiteral("plan"), tr("Plan only: hybrid_config.json"), QStringLiteral("ok"), tr("works without weights and without an engine")}};
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(20, 14, 20, 12);
  m_head = new QLabel;
  m_head->setObjectName(QStringLiteral("exportHead"));
  m_head->setAccessibleName(tr("What is exported"));
  m_head->setWordWrap(true);
  layout->addWidget(m_head);
  auto* form = new QFormLayout;
  m_plan = new PlanChoice(store, workspace);
  m_plan->setObjectName(QStringLiteral("exportPlan"));
  form->addRow(tr("Layer plan"), m_plan);
  m_dtype = new QComboBox;
  m_dtype->setObjectName(QStringLiteral("exportDtype"));
  m_dtype->setAccessibleName(tr("Number format of the weights"));
  m_dtype->addItems({QStringLiteral("bf16"), QStringLiteral("f32"), QStringLiteral("f16"), QStringLiteral("q8_0")});
  form->addRow(tr("Number format"), m_dtype);
  layout->addLayout(form);
  m_table = new QTableWidget(0, 3);
  m_table->setObjectName(QStringLiteral("exportTargets"));
  m_table->setAccessibleName(tr("Export targets"));
  m_table->setHorizontalHeaderLabels({tr("State"), tr("Target"), tr("Why")});
  m_table->setSelectionBehavior(QAbstractItemView::SelectRows);
  m_table->setSelectionMode(QAbstractItemView::SingleSelection);
  m_table->setEditTriggers(QAbstractItemView::NoEditTriggers);
  m_table->setWordWrap(true);
  m_table->setTabKeyNavigation(false);
  m_table->setShowGrid(false);
  m_table->setAlternatingRowColors(true);
  m_table->verticalHeader()->hide();
  m_table->verticalHeader()->setSectionResizeMode(QHeaderView::ResizeToContents);
  m_table->horizontalHeader()->setSectionResizeMode(0, QHeaderView::ResizeToContents);
  m_table->horizontalHeader()->setSectionResizeMode(1, QHeaderView::ResizeToContents);
  m_table->horizontalHeader()->setSectionResizeMode(2, QHeaderView::Stretch);
  layout->addWidget(m_table, 1);
  m_said = new QLabel;
  m_said->setObjectName(QStringLiteral("exportSaid"));
  m_said->setAccessibleName(tr("Outcome"));
  m_said->setWordWrap(true);
  m_said->setTextInteractionFlags(Qt::TextSelectableByMouse);
  layout->addWidget(m_said);
  auto* foot = new QHBoxLayout;
  m_why = new QLabel;
  m_why->setObjectName(QStringLiteral("exportWhy"));
  m_why->setAccessibleName(tr("Why it cannot be exported"));
  m_why->setWordWrap(true);
  foot->addWidget(m_why, 1);
  m_planFile = new QPushButton(tr("Save plan as…"));
  m_planFile->setObjectName(QStringLiteral("exportPlanFile"));
  m_planFile->setAccessibleName(tr("Save plan as hybrid_config.json"));
  m_export = new QPushButton(tr("Export"));
  m_export->setObjectName(QStringLiteral("exportStart"));
  m_export->setAccessibleName(tr("Export to the chosen target"));
  m_export->setMinimumSize(100, 34);
  foot->addWidget(m_planFile);
  foot->addWidget(m_export);
  layout->addLayout(foot);
  m_soon.setSingleShot(true);
  m_soon.setInterval(300);
  connect(&m_soon, &QTimer::timeout, this, &ExportPage::ask);
  const auto soon = [this] {
    m_soon.start();
    refreshButtons();
  };
  connect(m_plan, &PlanChoice::planChanged, this, soon);
  connect(m_dtype, &QComboBox::currentIndexChanged, this, soon);
  connect(workspace, &Workspace::currentRunChanged, this, soon);
  connect(client, &EngineClient::connectionChanged, this, soon);
  connect(m_table, &QTableWidget::itemSelectionChanged, this, &ExportPage::refreshButtons);
  connect(m_planFile, &QPushButton::clicked, this, [this] {
    const QString file = QFileDialog::getSaveFileName(this, tr("Save plan"), QStringLiteral("hybrid_config.json"), tr("Plan (*.json)"));
    if (!file.isEmpty()) writePlan(file);
  });
  connect(m_export, &QPushButton::clicked, this, &ExportPage::launch);
  connect(store->jobs(), &JobList::jobEnded, this, [this](const QString& id) {
    if (id != m_job) return;
    const Job* job = m_store->jobs()->find(id);
    m_job.clear();
    if (job && job->state == u"finished")
      say(m_said->text() + tr("\nDone."));
    else if (job)
      say(tr("Export %1: %2").arg(job->state, job->failure ? job->failure->message : job->reason));
    refreshButtons();
  });
  showTargets();
  m_table->selectRow(static_cast<int>(m_targets.size()) - 1);
  refreshButtons();
}

void ExportPage::say(const QString& text) {
  m_said->setText(text);
  m_said->setVisible(!text.isEmpty());
}

QString ExportPage::chosenTarget() const {
  const int row = m_table->currentRow();
  return row >= 0 && row < m_targets.size() ? m_targets[row].name : QString();
}

json ExportPage::params() const {
  json params = {{"run", m_store->engineName(m_workspace->currentRun()).toStdString()}, {"dtype", m_dtype->currentText().toStdString()}};
  if (!m_plan->plan().isEmpty()) params["plan"] = m_plan->plan().toStdString();
  return params;
}

QString ExportPage::commandLine() const {
  if (!m_command.isEmpty()) return m_command;
  const Run* run = m_store->run(m_workspace->currentRun());
  if (!run || m_plan->plan().isEmpty()) return {};
  return QStringLiteral("flashmorph export --run '%1' --plan %2 --target %3 --dtype %4").arg(run->path, m_plan->plan(), chosenTarget(), m_dtype->currentText());
}

// Asks what each target makes of this plan; a target the engine says nothing about keeps no verdict.
void ExportPage::ask() {
  const Run* run = m_store->run(m_workspace->currentRun());
  for (Target& target : m_targets)
    if (target.name != u"plan") target.level = target.why = QString();
  const bool can = run && m_client->isReady() && !m_client->isReplay() && m_client->info().canStart(QStringLiteral("export")) && !m_plan->plan().isEmpty();
  if (!can) {
    const QString why = !run ? tr("pick a run") : !m_client->isReady() ? tr("needs the engine") : m_client->isReplay() ? tr("this is a recording") : m_plan->plan().isEmpty() ? tr("the run has no layer plan yet") : tr("this engine writes no weights");
    for (Target& target : m_targets)
      if (target.name != u"plan") target.why = why;
    return showTargets();
  }
  json question = params();
  question["stage"] = "export";
  const quint64 number = ++m_number;
  m_client->call(QStringLiteral("preflight"), question, this, [this, number](const Reply& reply) {
    if (number != m_number) return;
    if (!reply.ok) {
      for (Target& target : m_targets)
        if (target.name != u"plan") {
          target.level = QStringLiteral("refused");
          target.why = reply.failure.message + (reply.failure.hint.isEmpty() ? QString() : QStringLiteral("; ") + reply.failure.hint);
        }
      return showTargets();
    }
    if (const auto rows = reply.result.find("rows"); rows != reply.result.end() && rows->is_array())
      for (const json& row : *rows) {
        const QString consumer = word(row, "name"), level = word(row, "level");
        const QString target = consumer == u"llama.cpp" ? QStringLiteral("gguf") : consumer == u"vllm" || consumer == u"sglang" ? QStringLiteral("transformers") : consumer;
        for (Target& one : m_targets) {
          if (one.name != target || (target == u"plan")) continue;
          // A server that misreads the plan is a warning on its format, not a refusal of it.
          const bool server = consumer == u"vllm" || consumer == u"sglang";
          const QString mine = level == u"ok" ? QStringLiteral("ok") : level == u"warn" || server ? QStringLiteral("warning") : QStringLiteral("refused");
          if (one.level.isEmpty() || mine == u"refused" || (mine == u"warning" && one.level == u"ok")) one.level = mine;
          if (level != u"ok") one.why += (one.why.isEmpty() ? QString() : QStringLiteral("\n")) + (server ? consumer + QStringLiteral(": ") : QString()) + word(row, "text");
        }
      }
    showTargets();
  });
}

void ExportPage::showTargets() {
  const int chosen = m_table->currentRow();
  m_table->setRowCount(static_cast<int>(m_targets.size()));
  for (int i = 0; i < m_targets.size(); ++i) {
    const Target& target = m_targets[i];
    const QString state = target.level == u"ok" ? tr("✓ ok") : target.level == u"warning" ? tr("! warning") : target.level == u"refused" ? tr("✕ refused") : QStringLiteral("-");
    const QString cells[] = {state, target.what, target.why};
    for (int c = 0; c < 3; ++c) {
      auto* item = new QTableWidgetItem(cells[c]);
      item->setToolTip(cells[c]);
      m_table->setItem(i, c, item);
    }
  }
  if (chosen >= 0) m_table->selectRow(chosen);
  refreshButtons();
}

void ExportPage::refreshButtons() {
  if (!m_why) return;
  const Run* run = m_store->run(m_workspace->currentRun());
  const bool hasPlan = run && !m_plan->plan().isEmpty();
  m_head->setText(!run ? tr("Pick a run: its plan and weights leave from here.")
                       : tr("<b>%1</b>. Beside weights always: hybrid_config.json (plan, gates, method, seed, hashes, versions, command), model card, tokenizer bytewise.").arg(run->displayName().toHtmlEscaped()));
  m_planFile->setEnabled(hasPlan);
  m_planFile->setToolTip(hasPlan ? tr("Works without an engine") : tr("The run has no layer plan yet"));
  const int row = m_table->currentRow();
  QString why;
  if (!run)
    why = tr("Pick a run.");
  else if (!hasPlan)
    why = tr("The run has no layer plan yet.");
  else if (row < 0)
    why = tr("Choose a target.");
  else if (!m_job.isEmpty())
    why = tr("Exporting…");
  else if (m_targets[row].name != u"plan") {
    if (!m_client->isReady())
      why = tr("Weights need the engine; the plan alone can be saved without.");
    else if (m_targets[row].level == u"refused")
      why = m_targets[row].why;
    else if (m_targets[row].level.isEmpty())
      why = m_targets[row].why.isEmpty() ? tr("Checking…") : m_targets[row].why;
  } else if (!run->host.isEmpty()) {
    why = tr("The run lies on %1: use Save plan as.").arg(run->host);
  }
  m_export->setEnabled(why.isEmpty());
  m_export->setToolTip(why);
  m_why->setText(why);
}

bool ExportPage::writePlan(const QString& file) {
  const Run* run = m_store->run(m_workspace->currentRun());
  if (!run || m_plan->plan().isEmpty()) {
    say(tr("There is no plan to write."));
    return false;
  }
  try {
    QDir().mkpath(QFileInfo(file).absolutePath());
    save_hybrid_config(file.toStdString(), planExport(run->record, LayerPlan::parse(m_plan->plan().toStdString()), m_workspace->locks(run->uuid, run->layers())));
    say(tr("Written: %1").arg(file));
    return true;
  } catch (const Error& error) {
    say(tr("✕ %1. %2").arg(QString::fromStdString(error.message()), QString::fromStdString(error.hint())));
  } catch (const std::exception& error) {
    say(tr("✕ %1").arg(QString::fromUtf8(error.what())));
  }
  return false;
}

void ExportPage::launch() {
  if (!m_export->isEnabled()) return;
  const Run* run = m_store->run(m_workspace->currentRun());
  const QString target = chosenTarget();
  if (target == u"plan") {
    const QString file = run->path.isEmpty() || !QFileInfo(run->path).isDir() ? QFileDialog::getSaveFileName(this, tr("Save plan"), QStringLiteral("hybrid_config.json")) : run->path + QStringLiteral("/exports/hybrid_config.json");
    if (!file.isEmpty()) writePlan(file);
    return;
  }
  json request = params();
  request["target"] = target.toStdString();
  say(tr("Starting…"));
  m_client->call(QStringLiteral("export.start"), request, this, [this](const Reply& reply) {
    if (!reply.ok) {
      say(tr("✕ %1. %2").arg(reply.failure.message, reply.failure.hint));
      return refreshButtons();
    }
    m_job = word(reply.result, "job");
    m_command = word(reply.result, "command");
    say(tr("Writing %1").arg(word(reply.result, "out")));
    refreshButtons();
  });
}

}  // namespace flashmorph
