// SPDX-License-Identifier: GPL-3.0-or-later
// Run files are read on one thread beside the window's; what comes back is a finished value.
#pragma once

#include <memory>

#include <QObject>
#include <QThreadPool>

#include "core/run/run_record.h"
#include "widgets/client/failure.h"

namespace flashmorph {

struct ReadRun {
  QString path;  ///< folder of the run, or the file as asked for
  QString name, title, notes;
  std::shared_ptr<const RunRecord> record;  ///< nullptr: see failure
  Failure failure;
};

class RunReader : public QObject {
  Q_OBJECT
 public:
  explicit RunReader(QObject* parent = nullptr);
  ~RunReader() override;

  /// A run folder, or a run file of any name. The answer has this path, made absolute.
  void read(const QString& path);
  /// All runs in a folder of runs: folderListed, then read() of each.
  void readFolder(const QString& folder);

 signals:
  void folderListed(const QString& folder, const QStringList& names);
  void runRead(const ReadRun& run);

 private:
  QThreadPool m_pool;
};

}  // namespace flashmorph

Q_DECLARE_METATYPE(flashmorph::ReadRun)
