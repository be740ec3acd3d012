// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/pages/distill_page.h"

#include <algorithm>
#include <cmath>

#include <QComboBox>
#include <QDialog>
#include <QDialogButtonBox>
#include <QFormLayout>
#include <QGroupBox>
#include <QLabel>
#include <QPushButton>
#include <QScrollArea>
#include <QSplitter>
#include <QStackedWidget>
#include <QVBoxLayout>

#include "widgets/format/format.h"
#include "widgets/pages/option_form.h"
#include "widgets/pages/plan_choice.h"
#include "widgets/pages/preflight_panel.h"
#include "widgets/pages/stage_form.h"
#include "widgets/state/run_store.h"
#include "widgets/state/workspace.h"
#include "widgets/views/curve_chart.h"

namespace flashmorph {

using nlohmann::json;

namespace {

const QStringList kHidden = {QStringLiteral("model"),  QStringLiteral("preset"), QStringLiteral("aligned"),   QStringLiteral("json"), QStringLiteral("quiet"),
                             QStringLiteral("resume"), QStringLiteral("plan"),   QStringLiteral("preflight"), QStringLiteral("plans")};

QString word(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? QString::fromStdString(it->get<std::string>()) : QString();
}

}  // namespace

DistillPage::DistillPage(EngineClient* client, RunStore* store, Workspace* workspace, Selection*, QWidget* parent)
    : QWidget(parent), m_client(client), m_store(store), m_workspace(workspace) {
  auto* outer = new QHBoxLayout(this);
  outer->setContentsMargins(0, 0, 0, 0);
  auto* split = new QSplitter(Qt::Horizontal);
  split->setObjectName(QStringLiteral("distillSplit"));
  outer->addWidget(split);
  auto* left = new QWidget;
  auto* leftLayout = new QVBoxLayout(left);
  leftLayout->setContentsMargins(0, 0, 0, 0);
  auto* scroll = new QScrollArea;
  scroll->setObjectName(QStringLiteral("distillScroll"));
  scroll->setAccessibleName(tr("Distill options"));
  scroll->setWidgetResizable(true);
  scroll->setFrameShape(QFrame::NoFrame);
  auto* body = new QWidget;
  auto* layout = new QVBoxLayout(body);
  layout->setContentsMargins(20, 14, 20, 10);
  auto* head = new QFormLayout;
  m_stage = new QComboBox;
  m_stage->setObjectName(QStringLiteral("distillStage"));
  m_stage->setAccessibleName(tr("Stage"));
  m_stage->addItem(tr("Distill: the hybrid learns the teacher's logits"), QStringLiteral("distill"));
  m_stage->addItem(tr("Finetune: the hybrid on text"), QStringLiteral("finetune"));
  head->addRow(tr("Stage"), m_stage);
  m_plan = new PlanChoice(store, workspace);
  head->addRow(tr("Layer plan"), m_plan);
  layout->addLayout(head);
  m_forms = new QStackedWidget;
  layout->addWidget(m_forms);
  layout->addStretch(1);
  scroll->setWidget(body);
  leftLayout->addWidget(scroll, 1);
  makeStage(QStringLiteral("distill"), {QStringLiteral("text"), QStringLiteral("distill_steps"), QStringLiteral("distill_batch"), QStringLiteral("distill_micro_batch"),
                                        QStringLiteral("distill_length"), QStringLiteral("distill_lr"), QStringLiteral("probe_every"), QStringLiteral("checkpoint_every"), QStringLiteral("seed"), QStringLiteral("device")});
  makeStage(QStringLiteral("finetune"), {QStringLiteral("init"), QStringLiteral("text"), QStringLiteral("finetune_steps"), QStringLiteral("finetune_batch"), QStringLiteral("finetune_micro_batch"),
                                         QStringLiteral("finetune_length"), QStringLiteral("finetune_lr"), QStringLiteral("seed"), QStringLiteral("device")});
  auto* foot = new QWidget;
  auto* footLayout = new QHBoxLayout(foot);
  footLayout->setContentsMargins(20, 4, 20, 8);
  auto* words = new QVBoxLayout;
  m_command = new QLabel;
  m_command->setObjectName(QStringLiteral("distillCommand"));
  m_command->setAccessibleName(tr("The same as a command line"));
  m_command->setWordWrap(true);
  m_command->setTextInteractionFlags(Qt::TextSelectableByMouse);
  QFont mono(QStringLiteral("monospace"));
  mono.setStyleHint(QFont::Monospace);
  mono.setPointSizeF(font().pointSizeF() * 0.9);
  m_command->setFont(mono);
  m_why = new QLabel;
  m_why->setObjectName(QStringLiteral("distillWhy"));
  m_why->setAccessibleName(tr("Why it cannot be started"));
  m_why->setWordWrap(true);
  words->addWidget(m_command);
  words->addWidget(m_why);
  footLayout->addLayout(words, 1);
  m_start = new QPushButton(tr("Start…"));
  m_start->setObjectName(QStringLiteral("distillStart"));
  m_start->setAccessibleName(tr("Start"));
  m_start->setMinimumSize(100, 34);
  footLayout->addWidget(m_start, 0, Qt::AlignTop);
  leftLayout->addWidget(foot);
  split->addWidget(left);

  m_live = new QGroupBox(tr("Training"));
  auto* live = new QVBoxLayout(m_live);
  m_state = new QLabel;
  m_state->setObjectName(QStringLiteral("distillState"));
  m_state->setAccessibleName(tr("State of the training"));
  m_state->setWordWrap(true);
  m_state->setTextInteractionFlags(Qt::TextSelectableByMouse);
  live->addWidget(m_state);
  m_loss = new CurveChart;
  m_loss->setObjectName(QStringLiteral("distillLoss"));
  m_loss->setAccessibleName(tr("Loss over steps"));
  m_loss->setEmptyText(tr("No training yet. Choose a plan and press Start."));
  live->addWidget(m_loss, 1);
  m_probes = new QLabel;
  m_probes->setObjectName(QStringLiteral("distillProbes"));
  m_probes->setAccessibleName(tr("Recall probes"));
  m_probes->setWordWrap(true);
  live->addWidget(m_probes);
  auto* stops = new QHBoxLayout;
  m_stopAfter = new QPushButton(tr("Stop after checkpoint"));
  m_stopAfter->setObjectName(QStringLiteral("distillStopAfter"));
  m_stopAfter->setAccessibleName(m_stopAfter->text());
  m_stopNow = new QPushButton(tr("Stop now"));
  m_stopNow->setObjectName(QStringLiteral("distillStopNow"));
  m_stopNow->setAccessibleName(m_stopNow->text());
  m_resume = new QPushButton(tr("Resume"));
  m_resume->setObjectName(QStringLiteral("distillResume"));
  m_resume->setAccessibleName(tr("Resume this training"));
  m_resume->setToolTip(tr("Goes on at the last checkpoint, or at step 1 if there is none"));
  m_resume->hide();
  stops->addStretch(1);
  stops->addWidget(m_resume);
  stops->addWidget(m_stopAfter);
  stops->addWidget(m_stopNow);
  live->addLayout(stops);
  split->addWidget(m_live);
  split->setStretchFactor(0, 3);
  split->setStretchFactor(1, 2);
  split->setChildrenCollapsible(false);

  m_soon.setSingleShot(true);
  m_soon.setInterval(100);
  connect(&m_soon, &QTimer::timeout, this, &DistillPage::refreshLive);
  const auto soon = [this] {
    if (!m_soon.isActive()) m_soon.start();
  };
  connect(m_stage, &QComboBox::currentIndexChanged, this, [this] {
    m_forms->setCurrentIndex(m_stage->currentIndex());
    changed();
  });
  connect(m_plan, &PlanChoice::planChanged, this, &DistillPage::changed);
  connect(workspace, &Workspace::currentRunChanged, this, [this, soon] {
    changed();
    soon();
  });
  connect(m_start, &QPushButton::clicked, this, &DistillPage::launch);
  connect(client, &EngineClient::connectionChanged, this, &DistillPage::refreshStart);
  connect(client, &EngineClient::heartbeat, this, [this, soon](const HeartbeatEvent& beat) {
    m_beat = beat;
    soon();
  });
  connect(client, &EngineClient::runCommitted, this, [this](const RunCommittedEvent& e) {
    if (const Run* run = m_store->runOfHandle(QString::fromStdString(e.run)); run && run->uuid == trainingRun()) m_checkpoint.restart();
  });
  connect(client, &EngineClient::evalSummary, this, [this, soon](const EvalSummaryEvent& e) {
    const Run* run = m_store->run(trainingRun());
    if (!run || run->job != QString::fromStdString(e.job)) return;
    m_probeLines << tr("step %1: recall %2, %3 nat").arg(m_beat.step).arg(format::number(e.score), format::number(e.nll_nats));
    m_probeLines = m_probeLines.mid(std::max<qsizetype>(0, m_probeLines.size() - 6));
    soon();
  });
  connect(store, &RunStore::gatesAppended, this, soon);
  connect(store, &RunStore::runChanged, this, soon);
  connect(store->jobs(), &JobList::jobChanged, this, soon);
  connect(m_stopAfter, &QPushButton::clicked, this, [this] {
    if (const Run* run = m_store->run(trainingRun()); run && run->live) m_store->jobs()->cancel(run->job, QStringLiteral("after_checkpoint"));
    refreshLive();  // the buttons say so at once
  });
  connect(m_stopNow, &QPushButton::clicked, this, [this] {
    if (const Run* run = m_store->run(trainingRun()); run && run->live) m_store->jobs()->cancel(run->job);
    refreshLive();
  });
  connect(m_resume, &QPushButton::clicked, this, [this] { emit resumeRequested(trainingRun()); });
  changed();
  refreshLive();
}

void DistillPage::makeStage(const QString& name, const QStringList& main) {
  auto* stage = new StageForm(m_client, name, main, kHidden, m_forms);
  m_stages[name] = stage;
  connect(stage->form(), &OptionForm::changed, this, &DistillPage::changed);
  connect(stage->preflight(), &PreflightPanel::changed, this, &DistillPage::refreshStart);
  connect(stage->preflight(), &PreflightPanel::cureChosen, this, [stage](const json& set) { stage->apply(stage->form()->config(), set); });
}

QString DistillPage::stage() const { return m_stage->currentData().toString(); }

RunConfig DistillPage::config() const {
  RunConfig config = m_stages[stage()]->form()->config();
  config.command = stage().toStdString();
  const Run* run = m_store->run(m_workspace->currentRun());
  config.plan = m_plan->plan().toStdString();
  if (!run) return config;
  const json& made = run->record.config;
  if (made.is_object()) config.model = word(made, "model").toStdString();
  const bool trained = run->record.kind == "distill" || run->record.kind == "finetune";
  if (trained) {
    if (config.init.empty()) config.init = run->path.toStdString();
  } else {
    // The branches the run was made with; an align run brings its own.
    const QString aligned = made.is_object() ? word(made, "aligned") : QString();
    config.aligned = (run->record.kind == "align" || aligned.isEmpty() ? run->path : aligned).toStdString();
  }
  return config;
}

QString DistillPage::commandLine() const {
  try {
    return QString::fromStdString(command_line(config()));
  } catch (const std::exception&) {
    return {};
  }
}

void DistillPage::changed() {
  const StageForm* stage = m_stages.value(this->stage());
  if (!stage) return;
  m_said.clear();
  if (stage->form()->problem().isEmpty() && m_store->run(m_workspace->currentRun())) stage->preflight()->check(config());
  m_command->setText(commandLine());
  refreshStart();
}

void DistillPage::refreshStart() {
  const StageForm* stage = m_stages.value(this->stage());
  if (!stage || !m_why) return;
  const Run* run = m_store->run(m_workspace->currentRun());
  QString why;
  if (m_starting)
    why = tr("Starting…");
  else if (!run)
    why = tr("Pick a run with gates, or train some: its plan and branches are distilled.");
  else if (m_plan->plan().isEmpty() && this->stage() == u"distill")
    why = tr("The run has no layer plan yet.");
  else if (!m_client->isReady())
    why = tr("No engine: start it with Tools, Start engine.");
  else if (!m_client->info().canStart(this->stage()))
    why = m_client->isReplay() ? tr("This is a recording: nothing can be started.") : tr("This engine cannot %1: it is not among its stages (%2).").arg(this->stage(), m_client->info().stages.join(QStringLiteral(", ")));
  else if (const QString problem = stage->form()->problem(); !problem.isEmpty())
    why = problem;
  else if (!stage->preflight()->isKnown())
    why = tr("Checking…");
  else if (!stage->preflight()->allows())
    why = stage->preflight()->stops().join(QStringLiteral("; "));
  m_start->setEnabled(why.isEmpty());
  m_start->setToolTip(why.isEmpty() ? tr("Ctrl+Return") : why);
  m_why->setText(why.isEmpty() ? m_said : why);
  m_why->setVisible(!m_why->text().isEmpty());
}

void DistillPage::launch() {
  if (!m_start->isEnabled()) return;
  const StageForm* stage = m_stages[this->stage()];
  auto* dialog = new QDialog(this);
  dialog->setAttribute(Qt::WA_DeleteOnClose);
  dialog->setObjectName(QStringLiteral("launchDialog"));
  dialog->setWindowTitle(this->stage() == u"distill" ? tr("Start distilling?") : tr("Start finetuning?"));
  auto* layout = new QVBoxLayout(dialog);
  const RunConfig config = this->config();
  const bool distill = this->stage() == u"distill";
  const double tokens = distill ? static_cast<double>(config.distill_steps) * static_cast<double>(config.distill_batch) * static_cast<double>(config.distill_length)
                                : static_cast<double>(config.finetune_steps) * static_cast<double>(config.finetune_batch) * static_cast<double>(config.finetune_length);
  auto* form = new QFormLayout;
  const auto row = [&](const QString& name, const QString& value) {
    auto* label = new QLabel(value);
    label->setWordWrap(true);
    label->setTextInteractionFlags(Qt::TextSelectableByMouse);
    form->addRow(name, label);
  };
  row(tr("Plan"), m_plan->currentText());
  row(tr("Tokens"), format::compact(tokens));
  row(tr("Time"), stage->preflight()->estimate_s() >= 0 ? format::duration(stage->preflight()->estimate_s()) : tr("unknown: no step was measured yet"));
  for (const QString& line : stage->preflight()->lines()) row(line.section(u':', 0, 0).replace(u'_', u' '), line.section(u':', 1).trimmed());
  row(tr("Command"), commandLine());
  layout->addLayout(form);
  auto* buttons = new QDialogButtonBox;
  QPushButton* start = buttons->addButton(tr("Start"), QDialogButtonBox::AcceptRole);
  QPushButton* cancel = buttons->addButton(QDialogButtonBox::Cancel);
  start->setObjectName(QStringLiteral("launchStart"));
  cancel->setObjectName(QStringLiteral("launchCancel"));
  for (QPushButton* b : {start, cancel}) b->setAccessibleName(b->text().remove(u'&'));
  start->setAutoDefault(false);
  start->setDefault(false);
  cancel->setDefault(true);
  layout->addWidget(buttons);
  connect(buttons, &QDialogButtonBox::accepted, dialog, &QDialog::accept);
  connect(buttons, &QDialogButtonBox::rejected, dialog, &QDialog::reject);
  connect(dialog, &QDialog::accepted, this, &DistillPage::startNow);
  dialog->resize(620, dialog->sizeHint().height());
  dialog->open();
  cancel->setFocus();
}

void DistillPage::startNow() {
  m_starting = true;
  refreshStart();
  m_client->start(stage(), config(), this, [this](const Reply& reply) {
    m_starting = false;
    m_said = reply.ok ? QString() : tr("Not started: %1. %2").arg(reply.failure.message, reply.failure.hint);
    m_probeLines.clear();
    m_checkpoint.restart();
    refreshStart();
  });
}

// The training to show: the live one, else the current run if it is one.
QString DistillPage::trainingRun() const {
  const auto trains = [](const Run* run) { return run && (run->record.kind == "distill" || run->record.kind == "finetune"); };
  for (const QString& uuid : m_store->uuids())
    if (const Run* run = m_store->run(uuid); trains(run) && run->live) return uuid;
  if (trains(m_store->run(m_workspace->currentRun()))) return m_workspace->currentRun();
  return m_lastTraining;  // stopped or finished: it stays in view beside the run whose plan it has
}

void DistillPage::refreshLive() {
  const Run* run = m_store->run(trainingRun());
  if (run && run->live) m_lastTraining = run->uuid;
  const Job* job = run ? m_store->jobs()->find(run->job) : nullptr;
  CurveChartData data;
  data.title = tr("Loss");
  data.yName = tr("loss");
  data.unit = QStringLiteral("nat");
  QStringList state;
  if (run) {
    const StepColumns& steps = run->record.steps;
    static const QColor kCurveColors[] = {QColor(0x1f, 0x77, 0xb4), QColor(0xd9, 0x5f, 0x02), QColor(0x1b, 0x9e, 0x77)};
    size_t at = 0;
    for (const auto& [name, values] : steps.loss) {
      Curve curve;
      curve.name = QString::fromStdString(name);
      curve.color = kCurveColors[at++ % 3];
      for (size_t i = 0; i < values.size() && i < steps.step.size(); ++i) {
        curve.x.push_back(steps.step[i]);
        curve.y.push_back(static_cast<double>(values[i]));
      }
      if (!curve.y.empty() && std::isfinite(curve.y.back())) state << tr("%1 %2").arg(curve.name, format::number(curve.y.back(), 4));
      data.curves.push_back(std::move(curve));
    }
    QString head = QStringLiteral("%1, %2").arg(run->displayName(), run->stateText());
    if (!steps.step.empty()) head += run->totalSteps > 0 ? tr(", step %1 of %2").arg(steps.step.back()).arg(run->totalSteps) : tr(", step %1").arg(steps.step.back());
    state.prepend(head);
    if (job && !job->isOver()) {
      if (std::isfinite(job->tokensPerSecond)) state << format::tokenRate(job->tokensPerSecond);
      if (std::isfinite(job->eta_s)) state << tr("%1 left").arg(format::duration(job->eta_s));
      if (m_beat.gpu_used_bytes)
        state << tr("GPU %1").arg(format::bytes(static_cast<double>(*m_beat.gpu_used_bytes)));
      else if (m_beat.rss_bytes > 0)
        state << tr("memory %1").arg(format::bytes(static_cast<double>(m_beat.rss_bytes)));
      if (m_checkpoint.isValid()) state << tr("committed %1 ago").arg(format::duration(static_cast<double>(m_checkpoint.elapsed()) / 1000));
    }
  }
  m_state->setText(state.join(QStringLiteral(", ")));
  m_state->setVisible(!state.isEmpty());
  m_loss->setData(std::move(data));
  m_probes->setText(m_probeLines.isEmpty() ? QString() : tr("Recall probes: %1").arg(m_probeLines.join(QStringLiteral("; "))));
  m_probes->setVisible(!m_probeLines.isEmpty());
  m_resume->setVisible(run && run->canResume());
  const bool running = run && run->live && job && !job->isOver();
  const bool stopping = running && job->stopAsked;
  m_stopAfter->setEnabled(running && !stopping);
  m_stopNow->setEnabled(running && !stopping);
  m_stopNow->setText(stopping ? tr("stopping") : tr("Stop now"));
  m_stopNow->setToolTip(running ? tr("Within 2 s; steps since the last checkpoint are lost") : tr("Nothing is training"));
  m_stopAfter->setToolTip(running ? tr("Finishes the step, writes a checkpoint, loses nothing") : tr("Nothing is training"));
}

}  // namespace flashmorph
