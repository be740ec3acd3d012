// SPDX-License-Identifier: GPL-3.0-or-later
// Ctrl+Shift+P: every action of the window by a few letters of its name.
#pragma once

#include <QDialog>
#include <QPointer>

class QAction;
class QLineEdit;
class QListWidget;

namespace flashmorph {

class CommandPalette : public QDialog {
  Q_OBJECT
 public:
  CommandPalette(const QList<QAction*>& actions, QWidget* parent = nullptr);
  /// Letters of `wanted` in order in `text`, words' beginnings first; lower is better, -1: no match.
  static int rank(const QString& text, const QString& wanted);

 protected:
  bool eventFilter(QObject* object, QEvent* event) override;

 private:
  void filter(const QString& text);
  void run();

  QList<QPointer<QAction>> m_actions;
  QLineEdit* m_edit;
  QListWidget* m_list;
};

}  // namespace flashmorph
