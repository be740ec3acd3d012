// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/pages/option_form.h"

#include <QComboBox>
#include <QFormLayout>
#include <QLabel>
#include <QLineEdit>
#include <QRegularExpression>
#include <QToolButton>
#include <QVBoxLayout>

namespace flashmorph {

using nlohmann::json;

namespace {

// snake_case to words for people.
QString label(const std::string& name) {
  QString text = QString::fromStdString(name).replace(u'_', u' ');
  if (!text.isEmpty()) text[0] = text[0].toUpper();
  return text;
}

QString asText(const json& value) {
  if (value.is_string()) return QString::fromStdString(value.get<std::string>());
  if (value.is_array()) {
    QStringList parts;
    for (const json& item : value) parts << asText(item);
    return parts.join(QStringLiteral(", "));
  }
  if (value.is_number_float()) return QString::number(value.get<double>(), 'g', 9);
  if (value.is_number_integer()) return QString::number(value.get<int64_t>());
  return QString::fromStdString(value.dump());
}

bool isFlag(const RunOption& option) { return std::holds_alternative<bool RunConfig::*>(option.field); }
bool isNumber(const RunOption& option) { return option.low <= option.high; }
bool isList(const RunOption& option) {
  return std::holds_alternative<std::vector<int64_t> RunConfig::*>(option.field) ||
         std::holds_alternative<std::vector<double> RunConfig::*>(option.field) ||
         std::holds_alternative<std::vector<std::string> RunConfig::*>(option.field);
}

}  // namespace

OptionForm::OptionForm(const std::string& command, const QStringList& main, const QStringList& hidden, QWidget* parent)
    : QWidget(parent), m_command(command), m_config(default_config(command)) {
  auto* layout = new QVBoxLayout(this);
  layout->setContentsMargins(0, 0, 0, 0);
  auto* first = new QFormLayout;
  first->setFieldGrowthPolicy(QFormLayout::ExpandingFieldsGrow);
  layout->addLayout(first);
  m_more = new QWidget(this);
  auto* rest = new QFormLayout(m_more);
  rest->setContentsMargins(0, 0, 0, 0);
  rest->setFieldGrowthPolicy(QFormLayout::ExpandingFieldsGrow);
  for (const QString& name : main)
    if (const RunOption* option = find_option(name.toStdString()); option && option->takes(command)) addRow(first, *option);
  int others = 0;
  for (const RunOption& option : run_options()) {
    const QString name = QString::fromStdString(option.name);
    if (!option.takes(command) || main.contains(name) || hidden.contains(name)) continue;
    addRow(rest, option);
    ++others;
  }
  auto* unfold = new QToolButton(this);
  unfold->setObjectName(QStringLiteral("allOptions"));
  unfold->setText(tr("All options (%1)").arg(others));
  unfold->setAccessibleName(unfold->text());
  unfold->setCheckable(true);
  unfold->setToolButtonStyle(Qt::ToolButtonTextBesideIcon);
  unfold->setArrowType(Qt::RightArrow);
  unfold->setAutoRaise(true);
  unfold->setVisible(others > 0);
  layout->addWidget(unfold);
  layout->addWidget(m_more);
  m_more->hide();
  connect(unfold, &QToolButton::toggled, this, [this, unfold](bool on) {
    m_more->setVisible(on);
    unfold->setArrowType(on ? Qt::DownArrow : Qt::RightArrow);
  });
  setConfig(m_config);
}

void OptionForm::addRow(QFormLayout* layout, const RunOption& option) {
  Row row{&option, nullptr};
  const QString name = label(option.name);
  const auto tell = [this] {
    if (!m_setting) emit changed();
  };
  if (isFlag(option)) {
    auto* box = new QCheckBox;
    connect(box, &QCheckBox::toggled, this, tell);
    row.editor = box;
  } else if (!option.choices.empty() && !isList(option)) {
    auto* box = new QComboBox;
    for (const std::string& choice : option.choices) box->addItem(QString::fromStdString(choice));
    // Words with a number or a wildcard in them may be typed.
    const bool open = isNumber(option) || option.name == "device";
    box->setEditable(open);
    if (open) box->setInsertPolicy(QComboBox::NoInsert);
    connect(box, open ? &QComboBox::editTextChanged : &QComboBox::currentTextChanged, this, tell);
    row.editor = box;
  } else {
    auto* edit = new QLineEdit;
    if (isNumber(option) && !isList(option)) edit->setMaximumWidth(160);
    connect(edit, &QLineEdit::textChanged, this, tell);
    row.editor = edit;
  }
  // Never squeezed by wrapped labels below.
  row.editor->setMinimumHeight(row.editor->sizeHint().height());
  row.editor->setObjectName(QStringLiteral("option_") + QString::fromStdString(option.name));
  const QString unit = option.unit.empty() || option.unit == "1" ? QString() : QString::fromStdString(option.unit);
  row.editor->setAccessibleName(unit.isEmpty() ? name : QStringLiteral("%1, %2").arg(name, unit));
  row.editor->setAccessibleDescription(QString::fromStdString(option.help));
  QString tip = QString::fromStdString(option.help);
  if (isNumber(option)) tip += QStringLiteral("\n%1 … %2 %3").arg(option.low).arg(option.high).arg(unit);
  tip += QStringLiteral("\n") + QString::fromStdString(option.flag());
  row.editor->setToolTip(tip);
  if (auto* box = qobject_cast<QComboBox*>(row.editor); box && box->lineEdit()) box->lineEdit()->setAccessibleName(row.editor->accessibleName());
  auto* text = new QLabel(unit.isEmpty() ? name : QStringLiteral("%1 (%2)").arg(name, unit));
  text->setBuddy(row.editor);
  text->setToolTip(tip);
  layout->addRow(text, row.editor);
  m_rows.push_back(row);
}

QString OptionForm::textOf(const Row& row) const {
  if (auto* box = qobject_cast<QCheckBox*>(row.editor)) return box->isChecked() ? QStringLiteral("true") : QStringLiteral("false");
  if (auto* box = qobject_cast<QComboBox*>(row.editor)) return box->currentText().trimmed();
  return qobject_cast<QLineEdit*>(row.editor)->text().trimmed();
}

// The words of every field as values; those that cannot be read are named in `wrong` and left as they
// were. Options depend on each other (length_min <= length_max), so the whole is checked, not each alone.
json OptionForm::values(std::map<std::string, QString>* wrong) const {
  json values = to_json(m_config);
  for (const Row& row : m_rows) {
    const QString text = textOf(row);
    try {
      std::vector<std::string> words;
      if (isList(*row.option)) {
        for (const QString& word : text.split(QRegularExpression(QStringLiteral("[,;\\s]+")), Qt::SkipEmptyParts)) words.push_back(word.toStdString());
      } else {
        words = {text.toStdString()};
      }
      values[row.option->name] = words.empty() ? json::array() : value_of_flag(*row.option, words);
    } catch (const std::exception& error) {
      (*wrong)[row.option->name] = QString::fromUtf8(error.what());
    }
  }
  return values;
}

RunConfig OptionForm::config() const {
  std::map<std::string, QString> wrong;
  const json all = values(&wrong);
  try {
    RunConfig config = run_config_of(all, "form", m_command);
    config.command = m_command;
    return config;
  } catch (const std::exception&) {
    return m_config;  // problem() says what is wrong
  }
}

QString OptionForm::problem() const {
  std::map<std::string, QString> wrong;
  const json all = values(&wrong);
  if (wrong.empty()) {
    try {
      (void)run_config_of(all, "form", m_command);
    } catch (const std::exception& error) {
      QString text = QString::fromUtf8(error.what());
      if (text.startsWith(u"form: ")) text = text.mid(6);
      // The sentence begins with the field's name.
      const std::string field = text.section(u':', 0, 0).toStdString();
      wrong[find_option(field) ? field : std::string()] = text;
    }
  }
  for (const Row& row : m_rows) {
    QPalette palette = this->palette();
    if (wrong.count(row.option->name)) palette.setColor(QPalette::Text, palette.color(QPalette::Base).lightness() < 128 ? QColor(0xff, 0x8a, 0x80) : QColor(0xc6, 0x28, 0x28));
    row.editor->setPalette(palette);
  }
  return wrong.empty() ? QString() : wrong.begin()->second;
}

void OptionForm::setConfig(const RunConfig& config) {
  m_config = config;
  m_config.command = m_command;
  m_setting = true;
  const json values = to_json(m_config);
  for (const Row& row : m_rows) {
    const auto it = values.find(row.option->name);
    if (it == values.end()) continue;
    if (auto* box = qobject_cast<QCheckBox*>(row.editor))
      box->setChecked(it->is_boolean() && it->get<bool>());
    else if (auto* combo = qobject_cast<QComboBox*>(row.editor)) {
      if (combo->isEditable())
        combo->setEditText(asText(*it));
      else
        combo->setCurrentText(asText(*it));
    } else
      qobject_cast<QLineEdit*>(row.editor)->setText(asText(*it));
  }
  m_setting = false;
  emit changed();
}

}  // namespace flashmorph
