// SPDX-License-Identifier: GPL-3.0-or-later
// Light, dark or as the desktop has it: Fusion with our own palettes. Data colors stay.
#pragma once

#include <QObject>
#include <QPalette>
#include <QString>

namespace flashmorph {

enum class ThemeChoice { system, light, dark };

QPalette lightPalette();
QPalette darkPalette();
ThemeChoice themeOf(const QString& text);  ///< "light", "dark", else system
QString themeText(ThemeChoice choice);

/// Applies the choice to the application, and asks org.freedesktop.portal when it is `system`.
class Theme : public QObject {
  Q_OBJECT
 public:
  explicit Theme(QObject* parent = nullptr);
  void choose(ThemeChoice choice);
  ThemeChoice choice() const { return m_choice; }
  bool isDark() const { return m_dark; }

 signals:
  void changed();

 private:
  void apply();
  void askPortal();

  ThemeChoice m_choice = ThemeChoice::system;
  bool m_dark = false, m_systemDark = false;
};

}  // namespace flashmorph
