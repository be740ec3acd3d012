// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/client/engine_command.h"

#include <QCoreApplication>
#include <QDir>
#include <QFileInfo>
#include <QProcess>
#include <QStandardPaths>

namespace flashmorph {

namespace {

// The host of an ssh command line: its first word that is no option (options with a value glued on, as
// ours are).
QString hostOf(const QStringList& words) {
  static const QString kWithValue = QStringLiteral("bcDEeFIiJLlmOopQRSWw");
  for (int i = 1; i < words.size(); ++i) {
    const QString& word = words[i];
    if (!word.startsWith(u'-')) return word;
    if (word.size() == 2 && kWithValue.contains(word[1])) ++i;
  }
  return {};
}

QString runnable(const QString& path, const QString& searchPath) {
  if (path.contains(u'/')) {
    const QFileInfo file(path);
    return file.isFile() && file.isExecutable() ? file.absoluteFilePath() : QString();
  }
  return QStandardPaths::findExecutable(path, searchPath.split(u':', Qt::SkipEmptyParts));
}

QString quoted(const QString& word) {
  static const QString kPlain = QStringLiteral("-_./:=@,+");
  for (const QChar c : word)
    if (!c.isLetterOrNumber() && !kPlain.contains(c)) return QStringLiteral("'%1'").arg(QString(word).replace(QStringLiteral("'"), QStringLiteral("'\\''")));
  return word.isEmpty() ? QStringLiteral("''") : word;
}

}  // namespace

QString EngineCommand::text() const {
  QStringList words{quoted(program)};
  for (const QString& word : arguments) words << quoted(word);
  return words.join(u' ');
}

EngineCommand findEngine(const QString& setting, const QProcessEnvironment& environment, const QString& besideFolder) {
  EngineCommand found;
  const QString path = environment.value(QStringLiteral("PATH"));
  const auto take = [&](QString line, const QString& origin) {
    if (line.startsWith(u"ssh:"))
      line = QStringLiteral("ssh -T -oBatchMode=yes -oServerAliveInterval=15 %1 flashmorph serve").arg(line.mid(4));
    QStringList words = QFileInfo::exists(line) ? QStringList{line} : QProcess::splitCommand(line);
    if (words.isEmpty()) return false;
    const QString program = runnable(words.first(), path);
    found.looked << QStringLiteral("%1: %2 (%3)").arg(origin, line, program.isEmpty() ? QStringLiteral("no program there") : QStringLiteral("found"));
    if (program.isEmpty()) return false;
    found.program = program;
    found.arguments = words.mid(1);
    found.origin = origin;
    if (QFileInfo(program).fileName() == u"ssh") found.host = hostOf(words);
    if (found.arguments.isEmpty()) found.arguments << QStringLiteral("serve");
    return true;
  };
  if (!setting.trimmed().isEmpty()) {
    take(setting.trimmed(), QStringLiteral("the setting"));
    return found;
  }
  found.looked << QStringLiteral("the setting: empty");
  const QString variable = environment.value(QStringLiteral("FLASHMORPH_ENGINE")).trimmed();
  if (!variable.isEmpty()) {
    take(variable, QStringLiteral("FLASHMORPH_ENGINE"));
    return found;
  }
  found.looked << QStringLiteral("FLASHMORPH_ENGINE: not set");
  const QString beside = besideFolder.isEmpty() ? QCoreApplication::applicationDirPath() : besideFolder;
  if (take(QDir(beside).filePath(QStringLiteral("flashmorph")), QStringLiteral("beside the workbench"))) return found;
  const QString inPath = QStandardPaths::findExecutable(QStringLiteral("flashmorph"), path.split(u':', Qt::SkipEmptyParts));
  if (inPath.isEmpty() || !take(inPath, QStringLiteral("PATH"))) found.looked << QStringLiteral("PATH: no flashmorph in it");
  return found;
}

}  // namespace flashmorph
