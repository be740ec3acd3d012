// SPDX-License-Identifier: GPL-3.0-or-later
// One stage to start: its options and the checks before the start. Setup and Distill stack several.
#pragma once

#include <optional>

#include <QString>
#include <QStringList>
#include <QWidget>
#include <nlohmann/json.hpp>

#include "core/run/run_config.h"

class QStackedWidget;

namespace flashmorph {

class EngineClient;
class OptionForm;
class PreflightPanel;

class StageForm : public QWidget {
  Q_OBJECT
 public:
  /// Adds itself to the stack, in which only the form in front takes room. main: options always shown;
  /// hidden: those the page asks for itself.
  StageForm(EngineClient* client, const QString& stage, const QStringList& main, const QStringList& hidden, QStackedWidget* stack);

  OptionForm* form() const { return m_form; }
  PreflightPanel* preflight() const { return m_preflight; }
  /// The form with a cure's {option: value} over `base`. Nothing, and the form stays, for a cure of a newer
  /// engine that this form does not know.
  std::optional<RunConfig> apply(const RunConfig& base, const nlohmann::json& cure);

 private:
  std::string m_stage;
  OptionForm* m_form;
  PreflightPanel* m_preflight;
};

}  // namespace flashmorph
