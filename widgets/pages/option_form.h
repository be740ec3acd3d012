// SPDX-License-Identifier: GPL-3.0-or-later
// A form made from run_options(): one row per option a command takes, with its range, choices and
// help. A new option of the engine appears here by itself.
#pragma once

#include <map>
#include <string>

#include <QCheckBox>
#include <QWidget>

#include "core/run/run_config.h"

class QFormLayout;
class QLineEdit;

namespace flashmorph {

class OptionForm : public QWidget {
  Q_OBJECT
 public:
  /// hidden: options the page sets elsewhere, as model and preset. main: the few shown first; the rest
  /// unfolds under "All options".
  OptionForm(const std::string& command, const QStringList& main, const QStringList& hidden, QWidget* parent = nullptr);

  const std::string& command() const { return m_command; }
  /// The values; hidden options keep what setConfig() gave.
  RunConfig config() const;
  void setConfig(const RunConfig& config);
  /// What is wrong with the words typed, empty: nothing. The field is marked.
  QString problem() const;

 signals:
  void changed();

 private:
  struct Row {
    const RunOption* option = nullptr;
    QWidget* editor = nullptr;
  };
  void addRow(QFormLayout* layout, const RunOption& option);
  QString textOf(const Row& row) const;
  nlohmann::json values(std::map<std::string, QString>* wrong) const;

  std::string m_command;
  RunConfig m_config;
  std::vector<Row> m_rows;
  QWidget* m_more = nullptr;
  bool m_setting = false;
};

}  // namespace flashmorph
