// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/client/run_reader.h"

#include <QDir>
#include <QFileInfo>

#include "core/run/error.h"
#include "core/run/run_file.h"
#include "core/run/run_folder.h"

namespace flashmorph {

namespace {

ReadRun readRun(const QString& path) {
  ReadRun run;
  QFileInfo info(path);
  if (info.fileName() == u"run.fmrun") info = QFileInfo(info.absolutePath());
  run.path = info.absoluteFilePath();
  run.name = info.isDir() ? info.fileName() : info.completeBaseName();
  try {
    const std::filesystem::path file(run.path.toStdString());
    if (info.isDir()) {
      run.record = std::make_shared<const RunRecord>(open_run(file).record);
      const RunNotes notes = read_notes({file});
      run.title = QString::fromStdString(notes.name);
      run.notes = QString::fromStdString(notes.notes);
    } else {
      run.record = std::make_shared<const RunRecord>(read_run_file(file));
    }
  } catch (const Error& error) {
    run.failure = {QString::fromStdString(error.stage()), QString::fromStdString(error.message()),
                   QString::fromStdString(error.hint()), static_cast<int>(error.code()), {}, {}};
  } catch (const std::exception& error) {
    run.failure = {QStringLiteral("run"), QStringLiteral("%1: %2").arg(run.path, QString::fromUtf8(error.what())), {}, 0, {}, {}};
  }
  return run;
}

}  // namespace

RunReader::RunReader(QObject* parent) : QObject(parent) {
  m_pool.setMaxThreadCount(1);
  qRegisterMetaType<ReadRun>();
}

RunReader::~RunReader() {
  m_pool.clear();
  m_pool.waitForDone();
}

void RunReader::read(const QString& path) {
  m_pool.start([this, path] { emit runRead(readRun(path)); });
}

void RunReader::readFolder(const QString& folder) {
  m_pool.start([this, folder] {
    QStringList names;
    try {
      for (const std::string& name : list_runs(folder.toStdString())) names << QString::fromStdString(name);
    } catch (const std::exception&) {
      // A folder that cannot be listed has no runs to show.
    }
    emit folderListed(folder, names);
    for (const QString& name : names) emit runRead(readRun(QDir(folder).filePath(name)));
  });
}

}  // namespace flashmorph
