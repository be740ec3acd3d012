// SPDX-License-Identifier: GPL-3.0-or-later
// Which engine to start: setting, FLASHMORPH_ENGINE, beside the window's program, PATH; or ssh.
#pragma once

#include <QProcessEnvironment>
#include <QString>
#include <QStringList>

namespace flashmorph {

struct EngineCommand {
  QString program;
  QStringList arguments;
  QString origin;      ///< "the setting", "FLASHMORPH_ENGINE", "beside the workbench", "PATH"
  QString host;        ///< over ssh: the host, else empty
  QStringList looked;  ///< every place looked at, in order, with what was found there

  bool isFound() const { return !program.isEmpty(); }
  QString text() const;  ///< as a command line
};

/// setting: a program, or a whole command line such as
/// "ssh -T -oBatchMode=yes -oServerAliveInterval=15 HOST flashmorph serve"; "serve" is added to a bare
/// program. A word with "ssh:HOST" is short for that line. Settings and FLASHMORPH_ENGINE that name no
/// program are an answer too: nothing found, so that a typing error is not covered up by PATH.
EngineCommand findEngine(const QString& setting,
                         const QProcessEnvironment& environment = QProcessEnvironment::systemEnvironment(),
                         const QString& besideFolder = {});

}  // namespace flashmorph
