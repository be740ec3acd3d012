// SPDX-License-Identifier: GPL-3.0-or-later
// The rows of a preflight: ok, warning or stop with one-click cures. Asks the engine itself, half a
// second after the last change of the form.
#pragma once

#include <QPointer>
#include <QTimer>
#include <QWidget>

#include "core/run/run_config.h"
#include "widgets/client/engine_client.h"

class QGridLayout;
class QLabel;

namespace flashmorph {

class PreflightPanel : public QWidget {
  Q_OBJECT
 public:
  PreflightPanel(EngineClient* client, const QString& stage, QWidget* parent = nullptr);

  /// Asks for this configuration soon; rows of an older one are marked as old at once.
  void check(const RunConfig& config);
  /// Shows an answer of `preflight`.
  void showAnswer(const nlohmann::json& answer);
  /// No stop among the rows, and the rows are those of the last config.
  bool allows() const { return m_known && m_stops.isEmpty(); }
  bool isKnown() const { return m_known; }
  QStringList stops() const { return m_stops; }
  double estimate_s() const { return m_estimate_s; }
  QString command() const { return m_command; }
  /// The row texts, for the launch dialog: "disk: 3 GB of 80 GB free".
  QStringList lines() const { return m_lines; }

 signals:
  void changed();
  void cureChosen(const nlohmann::json& set);  ///< {option: value}

 protected:
  void showEvent(QShowEvent* event) override;

 private:
  void ask();
  void say(const QString& text);

  EngineClient* m_client;
  QString m_stage;
  RunConfig m_config;
  QTimer m_timer;
  QWidget* m_rows = nullptr;
  QLabel* m_state = nullptr;
  QStringList m_stops, m_lines;
  QString m_command;
  double m_estimate_s = -1;
  bool m_known = false;
  bool m_waiting = false;  ///< to be asked once the panel is shown
  quint64 m_number = 0;
};

}  // namespace flashmorph
