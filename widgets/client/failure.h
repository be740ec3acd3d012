// SPDX-License-Identifier: GPL-3.0-or-later
// What went wrong, as the window tells it: what, where, next step (and the engine's own words).
#pragma once

#include <QMetaType>
#include <QString>

namespace flashmorph {

struct Failure {
  QString stage;    ///< "engine", "gates", "load", ...
  QString message;  ///< one sentence: what and where
  QString hint;     ///< the next step, may be empty
  int code = 0;     ///< ErrorCode, 0: none
  QString details;  ///< last lines of the engine's output, may be empty
  QString job;      ///< "j57" if a job failed

  bool isEmpty() const { return message.isEmpty(); }
};

}  // namespace flashmorph

Q_DECLARE_METATYPE(flashmorph::Failure)
