// SPDX-License-Identifier: GPL-3.0-or-later
// A user's hands for driven tests: waiting with a deadline and a sentence, clicking, typing,
// answering file dialogs. Nothing here calls the window's own code.
#pragma once

#include <functional>

#include <QAbstractButton>
#include <QApplication>
#include <QComboBox>
#include <QDialogButtonBox>
#include <QElapsedTimer>
#include <QFileDialog>
#include <QLineEdit>
#include <QPushButton>
#include <QPointer>
#include <QScrollArea>
#include <QTest>
#include <QTimer>

namespace flashmorph::hands {

/// Whether `come` became true within the deadline.
inline bool wait(const std::function<bool()>& come, int seconds) {
  QElapsedTimer clock;
  clock.start();
  while (!come()) {
    if (clock.elapsed() > seconds * 1000LL) return false;
    QTest::qWait(20);
  }
  return true;
}

/// Fails the test with a sentence that says what did not come; `more` may tell what was there instead.
#define WAIT_FOR(condition, seconds, sentence, more)                                                                             \
  QVERIFY2(flashmorph::hands::wait([&] { return static_cast<bool>(condition); }, seconds),                                    \
           qPrintable(QStringLiteral("waited %1 s for %2; %3").arg(seconds).arg(QStringLiteral(sentence), QString(more))))

/// Scrolled into view as a user would, then clicked in the middle.
inline void click(QWidget* widget) {
  for (QWidget* at = widget->parentWidget(); at; at = at->parentWidget())
    if (auto* area = qobject_cast<QScrollArea*>(at)) area->ensureWidgetVisible(widget);
  QTest::mouseClick(widget, Qt::LeftButton);
}

inline void type(QLineEdit* field, const QString& text) {
  click(field);
  QTest::keyClick(field, Qt::Key_A, Qt::ControlModifier);
  QTest::keyClicks(field, text);
}

/// Walks a box with the arrow keys until it shows an entry that begins with `text`.
inline bool choose(QComboBox* box, const QString& text) {
  box->setFocus();
  QTest::keyClick(box, Qt::Key_Home);
  for (int i = 0; i < box->count(); ++i) {
    if (box->currentText().startsWith(text)) return true;
    QTest::keyClick(box, Qt::Key_Down);
  }
  return box->currentText().startsWith(text);
}

/// The next file dialog gets this name typed and Save clicked (then Return, should the click have met a list that
/// unfolded); after ten seconds it is given up. Armed before the key that opens it.
inline void answerFileDialog(const QString& file) {
  auto* poll = new QTimer(qApp);
  poll->setInterval(100);
  struct Progress {
    int tries = 0, answers = 0;
  };
  auto progress = std::make_shared<Progress>();
  QObject::connect(poll, &QTimer::timeout, poll, [poll, file, progress] {
    auto* dialog = qobject_cast<QFileDialog*>(QApplication::activeModalWidget());
    if ((progress->answers > 0 && !dialog) || ++progress->tries > 100) {
      poll->stop();
      poll->deleteLater();
      for (QWidget* window : QApplication::topLevelWidgets())
        if (auto* open = qobject_cast<QDialog*>(window); open && open->isVisible() && progress->tries > 100) open->reject();
      return;
    }
    auto* name = dialog ? dialog->findChild<QLineEdit*>(QStringLiteral("fileNameEdit")) : nullptr;
    if (!name) return;
    const bool again = progress->answers++ > 0;
    name->setCompleter(nullptr);
    name->setFocus();
    QTest::keyClick(name, Qt::Key_A, Qt::ControlModifier);
    QTest::keyClicks(name, file);
    auto* buttons = dialog->findChild<QDialogButtonBox*>();
    if (QPushButton* save = buttons ? buttons->button(QDialogButtonBox::Save) : nullptr; save && !again)
      QTest::mouseClick(save, Qt::LeftButton);
    else
      QTest::keyClick(name, Qt::Key_Return);
    // It is closed now, and the next dialog is another's to answer.
    if (!dialog->isVisible()) {
      poll->stop();
      poll->deleteLater();
    }
  });
  poll->start();
}

}  // namespace flashmorph::hands
