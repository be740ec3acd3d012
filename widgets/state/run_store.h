// SPDX-License-Identifier: GPL-3.0-or-later
// The open runs as values, keyed by uuid: filled from run files (one reader thread) and from live
// events, so that a finished and a running run look alike to every view.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include <QHash>
#include <QObject>
#include <QSet>
#include <QString>
#include <QStringList>
#include <QTimer>

#include "core/run/event.h"
#include "core/run/run_record.h"
#include "widgets/client/engine_client.h"
#include "widgets/state/job_list.h"

namespace flashmorph {

class RunReader;
struct ReadRun;

/// One run. Views read `record` (gates, steps, layer errors, plans, evaluations) directly.
struct Run {
  QString uuid;
  QString name;    ///< folder name
  QString title;   ///< name for people (notes.json), may be empty
  QString notes;
  QString path;    ///< folder, on the engine's machine if host is set
  QString host;    ///< "" : this machine
  QString handle;  ///< of this engine session, as "r3"; may be empty
  QString method;  ///< "gates", or the method of a select run; "" for kinds without scores
  QString weightsRun;  ///< folder name of the run that keeps the evaluations; "" : not told
  RunRecord record;
  QString problem;     ///< why it could not be read; empty: all is well
  bool loading = false;
  bool live = false;   ///< a job writes it now
  bool provisional = false;  ///< gates still training: scores are not final
  qint64 totalSteps = 0;     ///< planned steps of its training, 0: unknown
  qint64 thinnedEvery = 1;   ///< the stream leaves out rows (the file has them)
  QString job;               ///< the job that writes it, or wrote it last in this session
  std::optional<double> meanRecall;  ///< of its chosen plan, if evaluated

  QString displayName() const { return title.isEmpty() ? name : title; }
  QString displayPath() const { return host.isEmpty() ? path : host + u':' + path; }
  int layers() const { return record.layers; }
  /// Score and tie-break for budget_solver, empty vectors: none yet.
  GateScore score() const;
  bool hasScore() const;
  /// Its training was stopped or lost its engine, and can go on.
  bool canResume() const;
  /// State for people: a training that nobody in this window runs is "unfinished".
  QString stateText() const;
  GateHistory gateHistory() const { return record.gate_history(); }
};

class RunStore : public QObject {
  Q_OBJECT
 public:
  /// client may be nullptr: files only.
  explicit RunStore(EngineClient* client, QObject* parent = nullptr);
  ~RunStore() override;

  QStringList uuids() const { return m_order; }
  const Run* run(const QString& uuid) const;  ///< nullptr: unknown
  const Run* runOfHandle(const QString& handle) const;
  const Run* runOfPath(const QString& path) const;
  JobList* jobs() const { return m_jobs; }

  /// The run whose record keeps the evaluations of `uuid`: the one that made its weights if it is
  /// open, else itself.
  const Run* evaluationsRun(const QString& uuid) const;
  /// Evaluation sets known for the run, oldest first.
  std::vector<EvalSet> evalSets(const QString& uuid) const;
  /// The grid of exactly this plan, weights and set; nullptr: nothing known.
  const RecallGrid* grid(const QString& uuid, const QString& set, const LayerPlan& plan,
                         const QString& weights = QStringLiteral("aligned")) const;
  /// All plans evaluated on a set with these weights.
  std::vector<LayerPlan> evaluatedPlans(const QString& uuid, const QString& set,
                                        const QString& weights = QStringLiteral("aligned")) const;
  /// What a request gives as "run": the handle, else the path.
  QString engineName(const QString& uuid) const;

  /// Reads a run folder or run.fmrun of this machine on the reader thread; runAdded or runChanged
  /// follows, openFailed for a file that cannot be read and was not known before.
  void openPath(const QString& path);
  /// Every run in a folder of runs.
  void openFolder(const QString& runsFolder);
  /// Asks the engine for its runs (names first, then contents as they are read).
  void refreshFromEngine();
  /// Asks the engine for the eval sets kept for a run: they can be chosen before anything is evaluated on them.
  void refreshSets(const QString& uuid) { askForSets(uuid, {}); }
  /// Takes a record made elsewhere (tests, demo). Returns its uuid.
  QString addRecord(const RunRecord& record, const QString& name, const QString& path = {});
  /// Forgets a run; its folder stays.
  void close(const QString& uuid);
  /// Name and notes: kept here, told to the engine or written to notes.json.
  void annotate(const QString& uuid, const QString& title, const QString& notes);
  /// Applies gathered events now (they are applied ten times a second otherwise).
  void applyPending();

 signals:
  void runAdded(const QString& uuid);
  void runChanged(const QString& uuid);    ///< anything of it
  void runRemoved(const QString& uuid);
  void gatesAppended(const QString& uuid);  ///< new step rows (align, gates or train)
  void cellsChanged(const QString& uuid, const QString& set, const QString& plan);  ///< plan: text form
  void openFailed(const QString& path, const Failure& failure);

 private:
  struct LiveEvent {
    QString job;
    Event event;
  };
  Run& keep(const QString& uuid);
  Run* find(const QString& uuid);
  void gather(const std::string& job, Event event);
  bool applyOne(const LiveEvent& live, QSet<QString>& rows, QSet<QString>& changed);
  void runRead(const ReadRun& read);
  void jobStateArrived(const JobStateEvent& event);
  void committed(const RunCommittedEvent& event);
  void resolveHandle(const QString& handle, const QString& kind);
  void askForRun(const QString& handle, const QString& kind, int tries);
  QString takeSummary(const nlohmann::json& summary);
  void askForSets(const QString& uuid, const QString& set);
  void load(const QString& uuid);
  void fetchFile(const QString& uuid);
  void fetchPiece(const QString& uuid, const QString& file, qint64 offset, const QString& tag);
  void engineLost();

  EngineClient* m_client;
  JobList* m_jobs;
  std::unique_ptr<RunReader> m_reader;
  std::vector<std::unique_ptr<Run>> m_runs;
  QStringList m_order;
  QHash<QString, QString> m_uuidOfHandle, m_handleOfJob, m_kindOfJob;
  QHash<QString, QString> m_uuidOfPath;  ///< of files being read: path (or cached copy) to run
  QSet<QString> m_resolving, m_asked, m_refused;
  std::vector<LiveEvent> m_pending;
  QTimer m_apply;
};

}  // namespace flashmorph
