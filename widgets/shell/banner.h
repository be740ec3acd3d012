// SPDX-License-Identifier: GPL-3.0-or-later
// Trouble in words above the pages: what, where, next step; stays until closed. Details holds the
// engine's output, Copy report everything.
#pragma once

#include <functional>

#include <QFrame>

#include "widgets/client/failure.h"

class QLabel;
class QHBoxLayout;
class QPlainTextEdit;
class QToolButton;
class QVBoxLayout;

namespace flashmorph {

class Banner : public QFrame {
  Q_OBJECT
 public:
  enum class Level { note, warning, error };
  Banner(const Failure& failure, Level level, QWidget* parent = nullptr);
  /// A button that does something about it; the banner closes with it if `closes`.
  void addAction(const QString& text, std::function<void()> run, bool closes = true);
  QString report() const;
  const Failure& failure() const { return m_failure; }
  void countAgain();  ///< the same trouble came once more

 signals:
  void closed();

 private:
  Failure m_failure;
  QHBoxLayout* m_buttons;
  QPlainTextEdit* m_details;
  QLabel* m_text;
  int m_times = 1;
};

/// At most four banners; the same trouble is counted, not stacked.
class BannerStack : public QWidget {
  Q_OBJECT
 public:
  explicit BannerStack(QWidget* parent = nullptr);
  /// The banner that shows it (an older one if it says the same).
  Banner* add(const Failure& failure, Banner::Level level = Banner::Level::error);
  QList<Banner*> banners() const { return m_banners; }
  void remove(Banner* banner);

 private:
  QVBoxLayout* m_layout;
  QList<Banner*> m_banners;
};

}  // namespace flashmorph
