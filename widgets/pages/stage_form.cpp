// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/pages/stage_form.h"

#include <QLabel>
#include <QStackedWidget>
#include <QVBoxLayout>

#include "widgets/pages/option_form.h"
#include "widgets/pages/preflight_panel.h"

namespace flashmorph {

StageForm::StageForm(EngineClient* client, const QString& stage, const QStringList& main, const QStringList& hidden, QStackedWidget* stack)
    : m_stage(stage.toStdString()), m_form(new OptionForm(m_stage, main, hidden, this)), m_preflight(new PreflightPanel(client, stage, this)) {
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 4, 0, 0);
  layout->addWidget(m_form);
  layout->addWidget(new QLabel(tr("<b>Checks before the start</b>")));
  layout->addWidget(m_preflight);
  layout->addStretch(1);
  stack->addWidget(this);
  const auto fit = [this, stack] {
    setSizePolicy(QSizePolicy::Preferred, stack->currentWidget() == this ? QSizePolicy::Preferred : QSizePolicy::Ignored);
  };
  connect(stack, &QStackedWidget::currentChanged, this, fit);
  fit();
}

std::optional<RunConfig> StageForm::apply(const RunConfig& base, const nlohmann::json& cure) {
  try {
    nlohmann::json values = to_json(base);
    for (const auto& [key, value] : cure.items()) values[key] = value;
    const RunConfig cured = run_config_of(values, "cure", m_stage);
    m_form->setConfig(cured);
    return cured;
  } catch (const std::exception&) {
    return {};
  }
}

}  // namespace flashmorph
