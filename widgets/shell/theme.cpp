// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/shell/theme.h"

#include <QApplication>
#include <QProcess>
#include <QStyleFactory>

namespace flashmorph {

namespace {

QPalette made(QRgb window, QRgb base, QRgb alternate, QRgb text, QRgb button, QRgb mid, QRgb highlight, QRgb link, QRgb disabled) {
  QPalette p;
  p.setColor(QPalette::Window, window);
  p.setColor(QPalette::WindowText, text);
  p.setColor(QPalette::Base, base);
  p.setColor(QPalette::AlternateBase, alternate);
  p.setColor(QPalette::Text, text);
  p.setColor(QPalette::Button, button);
  p.setColor(QPalette::ButtonText, text);
  p.setColor(QPalette::ToolTipBase, base);
  p.setColor(QPalette::ToolTipText, text);
  p.setColor(QPalette::PlaceholderText, disabled);
  p.setColor(QPalette::Mid, mid);
  p.setColor(QPalette::Midlight, alternate);
  p.setColor(QPalette::Light, base);
  p.setColor(QPalette::Dark, mid);
  p.setColor(QPalette::Shadow, QColor(mid).darker(140));
  p.setColor(QPalette::Highlight, highlight);
  p.setColor(QPalette::HighlightedText, Qt::white);
  p.setColor(QPalette::Link, link);
  p.setColor(QPalette::LinkVisited, link);
  p.setColor(QPalette::BrightText, Qt::white);
  for (const auto role : {QPalette::WindowText, QPalette::Text, QPalette::ButtonText}) p.setColor(QPalette::Disabled, role, disabled);
  p.setColor(QPalette::Disabled, QPalette::Highlight, mid);
  return p;
}

}  // namespace

QPalette lightPalette() {
  return made(0xfff4f5f7, 0xffffffff, 0xffeceef2, 0xff1b1f24, 0xffe9ebef, 0xffc3c8d0, 0xff1f5fbf, 0xff1a56b0, 0xff6a717c);
}
QPalette darkPalette() {
  return made(0xff1f2227, 0xff181a1e, 0xff262a30, 0xffe4e7eb, 0xff2c3037, 0xff4a505a, 0xff2f6fd0, 0xff7fb0ff, 0xff969da8);
}

ThemeChoice themeOf(const QString& text) {
  return text == u"light" ? ThemeChoice::light : text == u"dark" ? ThemeChoice::dark : ThemeChoice::system;
}
QString themeText(ThemeChoice choice) {
  return choice == ThemeChoice::light ? QStringLiteral("light") : choice == ThemeChoice::dark ? QStringLiteral("dark") : QStringLiteral("system");
}

Theme::Theme(QObject* parent) : QObject(parent) { qApp->setStyle(QStyleFactory::create(QStringLiteral("Fusion"))); }

void Theme::choose(ThemeChoice choice) {
  m_choice = choice;
  if (choice == ThemeChoice::system) askPortal();
  apply();
}

void Theme::apply() {
  m_dark = m_choice == ThemeChoice::dark || (m_choice == ThemeChoice::system && m_systemDark);
  qApp->setPalette(m_dark ? darkPalette() : lightPalette());
  emit changed();
}

// Qt 6.4 has no call for it. The portal answers 1 for dark; asked through gdbus, so that the window does
// not depend on Qt's D-Bus module and never waits for a desktop that does not answer.
void Theme::askPortal() {
  auto* ask = new QProcess(this);
  connect(ask, &QProcess::finished, this, [this, ask](int code) {
    const QString answer = QString::fromUtf8(ask->readAllStandardOutput());
    ask->deleteLater();
    const bool dark = code == 0 && answer.contains(QStringLiteral("uint32 1"));
    if (dark == m_systemDark) return;
    m_systemDark = dark;
    if (m_choice == ThemeChoice::system) apply();
  });
  connect(ask, &QProcess::errorOccurred, ask, &QObject::deleteLater);
  ask->start(QStringLiteral("gdbus"),
             {QStringLiteral("call"), QStringLiteral("--session"), QStringLiteral("--timeout"), QStringLiteral("2"), QStringLiteral("--dest"),
              QStringLiteral("org.freedesktop.portal.Desktop"), QStringLiteral("--object-path"), QStringLiteral("/org/freedesktop/portal/desktop"),
              QStringLiteral("--method"), QStringLiteral("org.freedesktop.portal.Settings.Read"),
              QStringLiteral("org.freedesktop.appearance"), QStringLiteral("color-scheme")});
}

}  // namespace flashmorph
