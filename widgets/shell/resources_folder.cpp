// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/shell/resources_folder.h"

#include <QCoreApplication>
#include <QDir>

namespace flashmorph {

QString resourcesFolder() {
  QStringList places{qEnvironmentVariable("FLASHMORPH_RESOURCES")};
  QDir up(QCoreApplication::applicationDirPath());
  places << up.filePath(QStringLiteral("../share/flashmorph"));
  for (int i = 0; i < 4; ++i) {
    places << up.filePath(QStringLiteral("resources"));
    if (!up.cdUp()) break;
  }
  for (const QString& place : places)
    if (!place.isEmpty() && QDir(place).exists(QStringLiteral("demo/teacher"))) return QDir(place).canonicalPath();
  return {};
}

}  // namespace flashmorph
