// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/pages/preflight_panel.h"

#include <QGridLayout>
#include <QLabel>
#include <QPushButton>
#include <QVBoxLayout>

#include "widgets/format/format.h"

namespace flashmorph {

using nlohmann::json;

namespace {

QString text(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? QString::fromStdString(it->get<std::string>()) : QString();
}

}  // namespace

PreflightPanel::PreflightPanel(EngineClient* client, const QString& stage, QWidget* parent)
    : QWidget(parent), m_client(client), m_stage(stage) {
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  m_state = new QLabel(this);
  m_state->setObjectName(QStringLiteral("preflightState"));
  m_state->setWordWrap(true);
  layout->addWidget(m_state);
  m_rows = new QWidget(this);
  new QGridLayout(m_rows);
  layout->addWidget(m_rows);
  m_timer.setSingleShot(true);
  m_timer.setInterval(500);
  connect(&m_timer, &QTimer::timeout, this, &PreflightPanel::ask);
  connect(client, &EngineClient::connectionChanged, this, [this] { m_timer.start(); });
  say(tr("Nothing to check yet."));
}

void PreflightPanel::say(const QString& words) {
  m_state->setText(words);
  m_state->setVisible(!words.isEmpty());
}

void PreflightPanel::check(const RunConfig& config) {
  m_config = config;
  m_known = false;
  m_rows->setEnabled(false);
  m_timer.start();
  emit changed();
}

// The check of a training takes measured steps: only for a panel that somebody looks at.
void PreflightPanel::showEvent(QShowEvent* event) {
  QWidget::showEvent(event);
  if (m_waiting) m_timer.start();
}

void PreflightPanel::ask() {
  if (m_config.command.empty()) return;
  m_waiting = !isVisible();
  if (m_waiting) return;
  if (!m_client->isReady()) {
    say(tr("No engine: checks need it. Start one with Tools, Start engine."));
    return;
  }
  if (!m_client->info().canStart(m_stage)) {
    say(tr("This engine cannot start %1.").arg(m_stage));
    return;
  }
  json params = changed_json(m_config);
  params.erase("command");
  params["stage"] = m_stage.toStdString();
  say(tr("Checking…"));
  const quint64 number = ++m_number;
  m_client->call(QStringLiteral("preflight"), params, this, [this, number](const Reply& reply) {
    if (number != m_number) return;  // a newer question is out
    if (reply.ok) return showAnswer(reply.result);
    showAnswer({{"rows", json::array({{{"name", "request"}, {"level", "stop"}, {"text", reply.failure.message.toStdString()}, {"cures", json::array()}}})}});
  });
}

void PreflightPanel::showAnswer(const json& answer) {
  m_known = true;
  m_stops.clear();
  m_lines.clear();
  m_command = text(answer, "command");
  m_estimate_s = -1;
  if (const auto it = answer.find("estimate_s"); it != answer.end() && it->is_number()) m_estimate_s = it->get<double>();
  delete m_rows->layout();
  qDeleteAll(m_rows->findChildren<QWidget*>(QString(), Qt::FindDirectChildrenOnly));
  auto* grid = new QGridLayout(m_rows);
  grid->setContentsMargins(0, 0, 0, 0);
  grid->setHorizontalSpacing(10);
  grid->setColumnStretch(2, 1);
  int at = 0;
  if (const auto rows = answer.find("rows"); rows != answer.end() && rows->is_array())
    for (const json& row : *rows) {
      const QString level = text(row, "level"), name = text(row, "name"), words = text(row, "text");
      // The mark is a word and a sign, the color only says it again.
      auto* mark = new QLabel(level == u"ok" ? tr("✓ ok") : level == u"stop" ? tr("✕ stop") : tr("! warning"));
      const QColor color = level == u"ok" ? QColor(0x2e, 0x7d, 0x32) : level == u"stop" ? QColor(0xc6, 0x28, 0x28) : QColor(0x9a, 0x67, 0x00);
      const bool dark = this->palette().color(QPalette::Window).lightness() < 128;
      QPalette palette = mark->palette();
      palette.setColor(QPalette::WindowText, dark ? color.lighter(190) : color);
      mark->setPalette(palette);
      auto* title = new QLabel(QString(name).replace(u'_', u' '));
      auto* body = new QLabel(words);
      body->setWordWrap(true);
      body->setTextInteractionFlags(Qt::TextSelectableByMouse);
      grid->addWidget(mark, at, 0, Qt::AlignTop);
      grid->addWidget(title, at, 1, Qt::AlignTop);
      grid->addWidget(body, at, 2, Qt::AlignTop);
      if (const auto cures = row.find("cures"); cures != row.end() && cures->is_array())
        for (const json& cure : *cures) {
          ++at;
          auto* button = new QPushButton(text(cure, "text"));
          button->setObjectName(QStringLiteral("cure%1").arg(at));
          button->setAccessibleName(tr("Cure: %1").arg(button->text()));
          const json set = cure.value("set", json::object());
          connect(button, &QPushButton::clicked, this, [this, set] { emit cureChosen(set); });
          grid->addWidget(button, at, 2, Qt::AlignLeft);
        }
      if (level == u"stop") m_stops << words;
      m_lines << QStringLiteral("%1: %2").arg(name, words);
      ++at;
    }
  m_rows->setEnabled(true);
  QString summary;
  if (m_estimate_s >= 0) summary = tr("Takes about %1 (%2).").arg(format::duration(m_estimate_s), text(answer, "estimate_from"));
  say(summary);
  emit changed();
}

}  // namespace flashmorph
