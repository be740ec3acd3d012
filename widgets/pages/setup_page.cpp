// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/pages/setup_page.h"

#include <QComboBox>
#include <QDir>
#include <QFile>
#include <QFileDialog>
#include <QFormLayout>
#include <QGroupBox>
#include <QLabel>
#include <QLineEdit>
#include <QMessageBox>
#include <QPushButton>
#include <QScrollArea>
#include <QStackedWidget>
#include <QVBoxLayout>

#include "widgets/format/format.h"
#include "widgets/pages/option_form.h"
#include "widgets/pages/preflight_panel.h"
#include "widgets/pages/stage_form.h"
#include "widgets/shell/resources_folder.h"
#include "widgets/state/run_store.h"
#include "widgets/state/workspace.h"

namespace flashmorph {

using nlohmann::json;

namespace {

QString text(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? QString::fromStdString(it->get<std::string>()) : QString();
}
qint64 integer(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<qint64>() : 0;
}

// Options set by the page itself, or of no use in a window.
const QStringList kHidden = {QStringLiteral("model"), QStringLiteral("preset"), QStringLiteral("aligned"), QStringLiteral("json"),
                             QStringLiteral("quiet"), QStringLiteral("resume"), QStringLiteral("preflight")};

}  // namespace

SetupPage::SetupPage(EngineClient* client, RunStore* store, Workspace* workspace, Selection*, QWidget* parent)
    : QWidget(parent), m_client(client), m_store(store), m_workspace(workspace) {
  auto* outer = new QVBoxLayout(this);
  outer->setContentsMargins(0, 0, 0, 0);
  auto* scroll = new QScrollArea;
  scroll->setObjectName(QStringLiteral("setupScroll"));
  scroll->setAccessibleName(tr("Setup"));
  scroll->setWidgetResizable(true);
  scroll->setFrameShape(QFrame::NoFrame);
  auto* body = new QWidget;
  auto* layout = new QVBoxLayout(body);
  layout->setContentsMargins(20, 14, 20, 14);
  scroll->setWidget(body);
  outer->addWidget(scroll, 1);

  auto* modelBox = new QGroupBox(tr("Model"));
  auto* modelLayout = new QVBoxLayout(modelBox);
  auto* modelRow = new QHBoxLayout;
  m_model = new QLineEdit;
  m_model->setObjectName(QStringLiteral("modelPath"));
  m_model->setAccessibleName(tr("Model folder or GGUF file"));
  m_model->setPlaceholderText(tr("Model folder or GGUF file, on the engine's machine"));
  auto* browse = new QPushButton(tr("Browse…"));
  browse->setObjectName(QStringLiteral("browseModel"));
  browse->setAccessibleName(tr("Browse for a model"));
  modelRow->addWidget(m_model, 1);
  modelRow->addWidget(browse);
  modelLayout->addLayout(modelRow);
  m_about = new QLabel;
  m_about->setObjectName(QStringLiteral("modelAbout"));
  m_about->setAccessibleName(tr("About the model"));
  m_about->setTextFormat(Qt::RichText);
  m_about->setWordWrap(true);
  m_about->setTextInteractionFlags(Qt::TextSelectableByMouse);
  modelLayout->addWidget(m_about);
  layout->addWidget(modelBox);

  auto* runBox = new QGroupBox(tr("Run"));
  auto* runLayout = new QVBoxLayout(runBox);
  auto* head = new QFormLayout;
  m_stage = new QComboBox;
  m_stage->setObjectName(QStringLiteral("stage"));
  m_stage->setAccessibleName(tr("What to run"));
  m_stage->addItem(tr("Train gates"), QStringLiteral("gates"));
  m_stage->addItem(tr("Align linear branches"), QStringLiteral("align"));
  m_stage->addItem(tr("Rank layers by another method"), QStringLiteral("select"));
  head->addRow(tr("What"), m_stage);
  m_aligned = new QComboBox;
  m_aligned->setObjectName(QStringLiteral("alignedBranches"));
  m_aligned->setAccessibleName(tr("Aligned branches"));
  m_aligned->setEditable(true);
  m_aligned->setInsertPolicy(QComboBox::NoInsert);
  m_aligned->lineEdit()->setPlaceholderText(tr("An align run or branches.safetensors"));
  m_aligned->lineEdit()->setAccessibleName(tr("Aligned branches"));
  head->addRow(tr("Aligned branches"), m_aligned);
  m_preset = new QComboBox;
  m_preset->setObjectName(QStringLiteral("preset"));
  m_preset->setAccessibleName(tr("Preset"));
  for (const auto& [name, help] : run_presets()) {
    m_preset->addItem(QString::fromStdString(name));
    m_preset->setItemData(m_preset->count() - 1, QString::fromStdString(help), Qt::ToolTipRole);
  }
  const QDir presets(resourcesFolder() + QStringLiteral("/run_presets"));
  if (!resourcesFolder().isEmpty())
    for (const QString& file : presets.entryList({QStringLiteral("*.json")}, QDir::Files, QDir::Name))
      m_preset->addItem(file.chopped(5), presets.filePath(file));
  head->addRow(tr("Preset"), m_preset);
  runLayout->addLayout(head);
  m_forms = new QStackedWidget;
  m_forms->setObjectName(QStringLiteral("stageForms"));
  runLayout->addWidget(m_forms);
  layout->addWidget(runBox);
  makeStage(QStringLiteral("gates"), {QStringLiteral("steps"), QStringLiteral("penalty"), QStringLiteral("budget"), QStringLiteral("supervision"), QStringLiteral("seed"), QStringLiteral("device")});
  makeStage(QStringLiteral("align"), {QStringLiteral("branch"), QStringLiteral("text"), QStringLiteral("align_steps"), QStringLiteral("align_batch"), QStringLiteral("align_length"), QStringLiteral("seed"), QStringLiteral("device")});
  makeStage(QStringLiteral("select"), {QStringLiteral("method"), QStringLiteral("budget"), QStringLiteral("samples"), QStringLiteral("seed"), QStringLiteral("device")});
  layout->addStretch(1);

  auto* foot = new QWidget;
  auto* footLayout = new QHBoxLayout(foot);
  footLayout->setContentsMargins(20, 6, 20, 8);
  m_command = new QLabel;
  m_command->setObjectName(QStringLiteral("setupCommand"));
  m_command->setAccessibleName(tr("The same as a command line"));
  m_command->setTextInteractionFlags(Qt::TextSelectableByMouse);
  m_command->setWordWrap(true);
  QFont mono(QStringLiteral("monospace"));
  mono.setStyleHint(QFont::Monospace);
  mono.setPointSizeF(font().pointSizeF() * 0.9);
  m_command->setFont(mono);
  m_why = new QLabel;
  m_why->setObjectName(QStringLiteral("launchWhy"));
  m_why->setAccessibleName(tr("Why it cannot be launched"));
  m_why->setWordWrap(true);
  auto* words = new QVBoxLayout;
  words->addWidget(m_command);
  words->addWidget(m_why);
  footLayout->addLayout(words, 1);
  m_launch = new QPushButton(tr("Launch"));
  m_launch->setObjectName(QStringLiteral("launch"));
  m_launch->setAccessibleName(tr("Launch"));
  m_launch->setToolTip(tr("Ctrl+Return"));
  m_launch->setMinimumSize(110, 34);
  footLayout->addWidget(m_launch, 0, Qt::AlignTop);
  outer->addWidget(foot);

  m_inspectSoon.setSingleShot(true);
  m_inspectSoon.setInterval(300);
  connect(&m_inspectSoon, &QTimer::timeout, this, &SetupPage::inspect);
  connect(m_model, &QLineEdit::textChanged, this, [this] {
    m_modelOk = false;
    m_inspectSoon.start();
    changed();
  });
  connect(browse, &QPushButton::clicked, this, [this] {
    const QString path = QFileDialog::getExistingDirectory(this, tr("Choose model folder"), m_model->text());
    if (!path.isEmpty()) setModel(path);
  });
  connect(m_stage, &QComboBox::currentIndexChanged, this, [this] {
    m_forms->setCurrentWidget(m_stages[stage()]);
    m_aligned->setEnabled(stage() != u"align");
    changed();
  });
  connect(m_aligned, &QComboBox::editTextChanged, this, &SetupPage::changed);
  connect(m_preset, &QComboBox::activated, this, [this](int at) {
    applyPreset(m_preset->itemData(at).toString().isEmpty() ? m_preset->itemText(at) : m_preset->itemData(at).toString());
  });
  connect(m_launch, &QPushButton::clicked, this, &SetupPage::launch);
  connect(client, &EngineClient::connectionChanged, this, [this] {
    m_inspectSoon.start();
    refreshLaunch();
  });
  connect(store, &RunStore::runAdded, this, &SetupPage::refreshAligned);
  connect(store, &RunStore::runRemoved, this, &SetupPage::refreshAligned);
  refreshAligned();
  showModel({});
  changed();
}

void SetupPage::makeStage(const QString& name, const QStringList& main) {
  auto* stage = new StageForm(m_client, name, main, kHidden, m_forms);
  m_stages[name] = stage;
  connect(stage->form(), &OptionForm::changed, this, &SetupPage::changed);
  connect(stage->preflight(), &PreflightPanel::changed, this, &SetupPage::refreshLaunch);
  connect(stage->preflight(), &PreflightPanel::cureChosen, this, [this, stage](const json& set) {
    const auto cured = stage->apply(config(), set);
    if (!cured) return;
    if (set.contains("aligned")) m_aligned->setEditText(QString::fromStdString(cured->aligned));
    if (set.contains("model")) m_model->setText(QString::fromStdString(cured->model));
  });
}

QString SetupPage::stage() const { return m_stage->currentData().toString(); }

RunConfig SetupPage::config() const {
  RunConfig config = m_stages[stage()]->form()->config();
  config.command = stage().toStdString();
  config.model = m_model->text().trimmed().toStdString();
  if (stage() != u"align") {
    // The name shown, or what was typed.
    const int at = m_aligned->findText(m_aligned->currentText());
    config.aligned = (at >= 0 ? m_aligned->itemData(at).toString() : m_aligned->currentText().trimmed()).toStdString();
  }
  return config;
}

QString SetupPage::commandLine() const {
  try {
    return QString::fromStdString(command_line(config()));
  } catch (const std::exception&) {
    return {};
  }
}

void SetupPage::setModel(const QString& path) {
  m_model->setText(path);
  m_workspace->addRecentModel(path);
}

void SetupPage::applyPreset(const QString& name) {
  const std::string command = stage().toStdString();
  m_evalSet = nullptr;
  try {
    RunConfig preset = default_config(command);
    if (name.endsWith(u".json")) {
      QFile file(name);
      if (!file.open(QIODevice::ReadOnly)) return;
      // A preset may speak of several stages: what this one takes is used.
      const json all = json::parse(file.readAll().toStdString());
      json mine = json::object();
      for (const auto& [key, value] : all.items())
        if (const RunOption* option = find_option(key); option && option->takes(command)) mine[key] = value;
      preset = run_config_of(mine, name.toStdString(), command);
      // How it would be judged is said with the run, so that Select can show that map.
      if (all.contains("lengths")) {
        m_evalSet = {{"name", QFileInfo(name).completeBaseName().toStdString()}};
        for (const char* key : {"task", "lengths", "depths", "trials", "seed"})
          if (all.contains(key)) m_evalSet[key] = all[key];
        for (const char* key : {"passkeys", "passkey_words"})
          if (all.contains(key)) m_evalSet["strings"][key] = all[key].dump();
      }
    } else {
      preset = default_config(command, name.toStdString());
    }
    m_stages[stage()]->form()->setConfig(preset);
  } catch (const std::exception& error) {
    m_why->setText(tr("The preset cannot be used: %1").arg(QString::fromUtf8(error.what())));
  }
}

void SetupPage::loadDemo(const QString& resources) {
  m_stage->setCurrentIndex(0);
  m_preset->setCurrentText(QStringLiteral("demo"));
  applyPreset(resources + QStringLiteral("/run_presets/demo.json"));
  m_aligned->setEditText(resources + QStringLiteral("/demo/branches/lightning.safetensors"));
  m_model->setText(resources + QStringLiteral("/demo/teacher"));
}

void SetupPage::refreshAligned() {
  const QString typed = m_aligned->currentText();
  const QSignalBlocker block(m_aligned);
  m_aligned->clear();
  for (const QString& uuid : m_store->uuids()) {
    const Run* run = m_store->run(uuid);
    if (run->record.kind == "align" && run->problem.isEmpty()) m_aligned->addItem(run->displayName(), run->path);
  }
  m_aligned->setCurrentIndex(-1);
  m_aligned->setEditText(typed);
}

void SetupPage::inspect() {
  const QString model = m_model->text().trimmed();
  if (model.isEmpty() || !m_client->isReady()) {
    m_about->setText(model.isEmpty() ? tr("Choose a model to see its layers, heads, and what it can be exported to.") : tr("No engine: the model cannot be inspected."));
    return;
  }
  m_about->setText(tr("Reading…"));
  m_client->call(QStringLiteral("model.inspect"), {{"model", model.toStdString()}}, this, [this, model](const Reply& reply) {
    if (model == m_model->text().trimmed()) showModel(reply);
  });
}

void SetupPage::showModel(const Reply& reply) {
  m_modelOk = false;
  if (!reply.ok) {
    m_about->setText(reply.failure.isEmpty() ? tr("Choose a model to see its layers, heads, and what it can be exported to.")
                                             : QStringLiteral("✕ %1<br>%2").arg(reply.failure.message.toHtmlEscaped(), reply.failure.hint.toHtmlEscaped()));
    return refreshLaunch();
  }
  const json& r = reply.result;
  QStringList facts;
  facts << tr("<b>%1</b>: %2, %3 layers, %4 query and %5 key heads of %6, hidden %7, trained length %8")
               .arg(text(r, "name").toHtmlEscaped(), text(r, "family").toHtmlEscaped())
               .arg(integer(r, "layers")).arg(integer(r, "heads")).arg(integer(r, "kv_heads")).arg(integer(r, "head_dim")).arg(integer(r, "hidden"))
               .arg(format::tokens(integer(r, "max_position")));
  const auto rope = r.find("rope");
  const double weights = static_cast<double>(integer(r, "weights"));
  facts << tr("RoPE %1, %2 weights, KV cache %3 a token with all layers full")
               .arg(rope != r.end() && rope->is_object() ? text(*rope, "type").toHtmlEscaped() : QStringLiteral("-"), tr("%1 M").arg(weights / 1e6, 0, 'f', weights < 1e8 ? 1 : 0),
                    format::bytes(static_cast<double>(integer(r, "kv_bytes_per_token"))));
  if (const auto budgets = r.find("budgets"); budgets != r.end() && budgets->is_object()) {
    QStringList ratios;
    for (const char* ratio : {"6:1", "3:1", "1:1"})
      if (budgets->contains(ratio) && (*budgets)[ratio].is_number_integer()) ratios << tr("%1 is K %2").arg(QLatin1String(ratio)).arg((*budgets)[ratio].get<int>());
    facts << tr("Budgets: %1").arg(ratios.join(QStringLiteral(", ")));
  }
  m_modelOk = true;
  if (const auto bad = r.find("unsupported"); bad != r.end() && bad->is_array())
    for (const json& part : *bad)
      if (part.is_string()) {
        facts << QStringLiteral("✕ ") + QString::fromStdString(part.get<std::string>()).toHtmlEscaped();
        m_modelOk = false;
      }
  QStringList targets;
  if (const auto list = r.find("targets"); list != r.end() && list->is_array())
    for (const json& target : *list)
      if (target.is_object()) {
        const QString state = text(target, "state");
        targets << QStringLiteral("%1 %2").arg(state == u"ok" ? QStringLiteral("✓") : state == u"refused" ? QStringLiteral("✕") : QStringLiteral("!"), text(target, "name").toHtmlEscaped());
      }
  if (!targets.isEmpty()) facts << tr("Export targets: %1").arg(targets.join(QStringLiteral(" &nbsp; ")));
  m_about->setText(facts.join(QStringLiteral("<br>")));
  m_workspace->addRecentModel(m_model->text().trimmed());
  refreshLaunch();
}

void SetupPage::changed() {
  const QString name = stage();
  const StageForm* stage = m_stages.value(name);
  if (!stage) return;
  const QString problem = stage->form()->problem();
  if (problem.isEmpty() && !m_model->text().trimmed().isEmpty()) stage->preflight()->check(config());
  m_command->setText(commandLine());
  refreshLaunch();
}

void SetupPage::refreshLaunch() {
  const StageForm* stage = m_stages.value(this->stage());
  if (!stage) return;
  QString why;
  if (m_starting)
    why = tr("Starting…");
  else if (m_model->text().trimmed().isEmpty())
    why = tr("Choose a model.");
  else if (!m_client->isReady())
    why = tr("No engine: start it with Tools, Start engine.");
  else if (!m_client->info().canStart(this->stage()))
    why = m_client->isReplay() ? tr("This is a recording: nothing can be started.") : tr("This engine cannot start %1.").arg(this->stage());
  else if (const QString problem = stage->form()->problem(); !problem.isEmpty())
    why = problem;
  else if (!stage->preflight()->isKnown())
    why = tr("Checking…");
  else if (!stage->preflight()->allows())
    why = stage->preflight()->stops().join(QStringLiteral("; "));
  m_launch->setEnabled(why.isEmpty());
  m_launch->setToolTip(why.isEmpty() ? tr("Ctrl+Return") : why);
  m_why->setText(why);
  m_why->setVisible(!why.isEmpty());
}

void SetupPage::launch() {
  if (!m_launch->isEnabled()) return;
  m_starting = true;
  refreshLaunch();
  const QString name = stage();
  m_client->start(name, config(), this, [this](const Reply& reply) {
    m_starting = false;
    refreshLaunch();
    if (!reply.ok) {
      m_why->setText(tr("Not started: %1. %2").arg(reply.failure.message, reply.failure.hint));
      m_why->show();
      return;
    }
    // The run comes in front as soon as the store knows it.
    const QString handle = text(reply.result, "run");
    auto* wait = new QObject(this);
    const auto arrived = [this, wait, handle] {
      const Run* run = m_store->runOfHandle(handle);
      if (!run) return;
      wait->deleteLater();
      m_workspace->setCurrentRun(run->uuid);
      keepEvalSet(handle);
    };
    connect(m_store, &RunStore::runChanged, wait, arrived);
    arrived();
    emit launched(handle);
  });
}

void SetupPage::keepEvalSet(const QString& run) {
  if (m_evalSet.is_null()) return;
  json params = m_evalSet;
  params["run"] = run.toStdString();
  m_client->call(QStringLiteral("eval_set.save"), params, this, [this, run](const Reply& reply) {
    if (const Run* kept = reply.ok ? m_store->runOfHandle(run) : nullptr) return m_store->refreshSets(kept->uuid);
    if (!reply.ok) m_client->logLine({"warning", tr("The preset's eval set was not saved: %1").arg(reply.failure.message).toStdString(), ""});
  });
}

}  // namespace flashmorph
