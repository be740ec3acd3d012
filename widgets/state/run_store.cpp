// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/state/run_store.h"

#include <algorithm>
#include <cmath>

#include <QDir>
#include <QFile>
#include <QFileInfo>
#include <QStandardPaths>
#include <QThread>

#include "core/run/error.h"
#include "core/run/run_folder.h"
#include "widgets/client/run_reader.h"
#include "widgets/state/run_method.h"

namespace flashmorph {

using nlohmann::json;

namespace {

constexpr int kApplyEvery_ms = 100;
constexpr qint64 kPiece = 524'288;

QString q(const std::string& s) { return QString::fromStdString(s); }
QString text(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? q(it->get<std::string>()) : QString();
}
qint64 integer(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number() ? it->get<qint64>() : 0;
}

qint64 plannedSteps(const RunRecord& record) {
  const char* key = record.kind == "align" ? "align_steps" : record.kind == "distill" ? "distill_steps" : record.kind == "finetune" ? "finetune_steps" : "steps";
  return record.config.is_object() ? integer(record.config, key) : 0;
}

// What a live run knows and a file committed a moment ago does not: its last rows, its last trials.
void keepNewer(RunRecord& file, const RunRecord& live) {
  if (live.layers == file.layers && !live.steps.step.empty() &&
      (file.steps.step.empty() || live.steps.step.back() > file.steps.step.back())) {
    file.steps = live.steps;
    file.gates.alpha = live.gates.alpha;
    file.gates.raw = live.gates.raw;
    file.gates.penalty = live.gates.penalty;
    file.layer.loss = live.layer.loss;
  }
  for (const SetEvaluations& set : live.evals)
    for (const Evaluation& evaluation : set.evaluations) {
      const SavedPlan* plan = live.find_plan(evaluation.plan_id);
      if (!plan) continue;
      try {
        RecallGrid& grid = file.grid(set.set, file.keep_plan(plan->plan, plan->name, plan->origin, plan->locks), evaluation.weights);
        grid = merge(grid, evaluation.grid);
      } catch (const std::exception&) {
        // Another set of the same name in the file: the file is right.
      }
    }
}

}  // namespace

GateScore Run::score() const {
  try {
    return record.score();
  } catch (const std::exception&) {
    return {};  // no gates yet
  }
}

bool Run::hasScore() const { return record.layers > 0 && (!record.gates.alpha.empty() || !record.gates.score.empty()); }

bool Run::canResume() const {
  const bool trains = record.kind == "align" || record.kind == "gates" || record.kind == "distill" || record.kind == "finetune";
  return trains && !live && problem.isEmpty() && !path.isEmpty() && record.state != "finished";
}

QString Run::stateText() const { return record.state == "running" && !live ? QObject::tr("unfinished") : q(record.state); }

RunStore::RunStore(EngineClient* client, QObject* parent)
    : QObject(parent), m_client(client), m_jobs(new JobList(client, this)), m_reader(std::make_unique<RunReader>()) {
  m_apply.setSingleShot(true);
  m_apply.setInterval(kApplyEvery_ms);
  connect(&m_apply, &QTimer::timeout, this, &RunStore::applyPending);
  connect(m_reader.get(), &RunReader::runRead, this, &RunStore::runRead);
  connect(m_reader.get(), &RunReader::folderListed, this, [this](const QString& folder, const QStringList& names) {
    Q_UNUSED(folder);
    Q_UNUSED(names);
  });
  if (!client) return;
  connect(client, &EngineClient::alignSteps, this, [this](const AlignStepsEvent& e) { gather(e.job, e); });
  connect(client, &EngineClient::gateSteps, this, [this](const GateStepsEvent& e) { gather(e.job, e); });
  connect(client, &EngineClient::trainSteps, this, [this](const TrainStepsEvent& e) { gather(e.job, e); });
  connect(client, &EngineClient::evalCells, this, [this](const EvalCellsEvent& e) { gather(e.job, e); });
  connect(client, &EngineClient::jobStateChanged, this, &RunStore::jobStateArrived);
  connect(client, &EngineClient::runCommitted, this, &RunStore::committed);
  connect(client, &EngineClient::thinned, this, [this](const ThinnedEvent& e) {
    for (const auto& run : m_runs)
      if (run->live) run->thinnedEvery = e.every;
  });
  connect(client, &EngineClient::jobStarted, this, [this](const QString& job, const QString& stage, const json& answer) {
    const QString handle = text(answer, "run");
    m_handleOfJob[job] = handle;
    m_kindOfJob[job] = stage;
    resolveHandle(handle, stage);
  });
  connect(client, &EngineClient::connectionChanged, this, [this](EngineState state) {
    if (state == EngineState::lost || state == EngineState::absent || state == EngineState::missing || state == EngineState::starting) engineLost();
  });
  connect(client, &EngineClient::helloDone, this, [this] { refreshFromEngine(); });
}

RunStore::~RunStore() = default;

Run* RunStore::find(const QString& uuid) {
  for (const auto& run : m_runs)
    if (run->uuid == uuid) return run.get();
  return nullptr;
}
const Run* RunStore::run(const QString& uuid) const { return const_cast<RunStore*>(this)->find(uuid); }
const Run* RunStore::runOfHandle(const QString& handle) const { return run(m_uuidOfHandle.value(handle)); }
const Run* RunStore::runOfPath(const QString& path) const {
  const QString absolute = QFileInfo(path).absoluteFilePath();
  for (const auto& run : m_runs)
    if (run->host.isEmpty() && (run->path == absolute || run->path + QStringLiteral("/run.fmrun") == absolute)) return run.get();
  return nullptr;
}

Run& RunStore::keep(const QString& uuid) {
  Q_ASSERT(QThread::currentThread() == thread());
  if (Run* known = find(uuid)) return *known;
  m_runs.push_back(std::make_unique<Run>());
  m_runs.back()->uuid = uuid;
  m_order << uuid;
  return *m_runs.back();
}

const Run* RunStore::evaluationsRun(const QString& uuid) const {
  const Run* own = run(uuid);
  if (!own) return nullptr;
  if (!own->weightsRun.isEmpty() && own->weightsRun != own->name)
    for (const auto& other : m_runs)
      if (other->name == own->weightsRun && other->host == own->host) return other.get();
  if (!own->record.parent_uuid.empty() && own->record.evals.empty())
    if (const Run* parent = run(q(own->record.parent_uuid)); parent && !parent->record.evals.empty()) return parent;
  return own;
}

std::vector<EvalSet> RunStore::evalSets(const QString& uuid) const {
  std::vector<EvalSet> sets;
  for (const Run* from : {evaluationsRun(uuid), run(uuid)})
    if (from)
      for (const SetEvaluations& set : from->record.evals)
        if (std::none_of(sets.begin(), sets.end(), [&](const EvalSet& known) { return known.name == set.set.name; })) sets.push_back(set.set);
  return sets;
}

const RecallGrid* RunStore::grid(const QString& uuid, const QString& set, const LayerPlan& plan, const QString& weights) const {
  for (const Run* from : {evaluationsRun(uuid), run(uuid)}) {
    if (!from) continue;
    const SavedPlan* saved = from->record.find_plan(plan);
    if (!saved) continue;
    for (const SetEvaluations& evaluations : from->record.evals)
      if (q(evaluations.set.name) == set)
        for (const Evaluation& evaluation : evaluations.evaluations)
          if (evaluation.plan_id == saved->id && q(evaluation.weights) == weights && evaluation.grid.trials_run() > 0) return &evaluation.grid;
  }
  return nullptr;
}

std::vector<LayerPlan> RunStore::evaluatedPlans(const QString& uuid, const QString& set, const QString& weights) const {
  std::vector<LayerPlan> plans;
  for (const Run* from : {evaluationsRun(uuid), run(uuid)}) {
    if (!from) continue;
    for (const SetEvaluations& evaluations : from->record.evals)
      if (q(evaluations.set.name) == set)
        for (const Evaluation& evaluation : evaluations.evaluations)
          if (q(evaluation.weights) == weights && evaluation.grid.trials_run() > 0)
            if (const SavedPlan* saved = from->record.find_plan(evaluation.plan_id))
              if (std::find(plans.begin(), plans.end(), saved->plan) == plans.end()) plans.push_back(saved->plan);
  }
  return plans;
}

QString RunStore::engineName(const QString& uuid) const {
  const Run* known = run(uuid);
  if (!known) return {};
  return !known->handle.isEmpty() ? known->handle : known->path;
}

void RunStore::openPath(const QString& path) {
  if (const Run* known = runOfPath(path)) const_cast<Run*>(known)->loading = true;
  m_reader->read(path);
}

void RunStore::openFolder(const QString& runsFolder) { m_reader->readFolder(runsFolder); }

void RunStore::refreshFromEngine() {
  if (!m_client || !m_client->isReady()) return;
  m_client->call(QStringLiteral("run.list"), json::object(), this, [this](const Reply& reply) {
    if (!reply.ok) return;
    const auto it = reply.result.find("runs");
    if (it == reply.result.end() || !it->is_array()) return;
    const QString folder = text(reply.result, "folder");
    for (const json& summary : *it) {
      if (!summary.is_object()) continue;
      if (!text(summary, "uuid").isEmpty()) {
        const QString uuid = takeSummary(summary);
        const Run* known = run(uuid);
        if (known && static_cast<qint64>(known->record.revision) < integer(summary, "revision")) load(uuid);
      } else {
        // It stays in the list with its reason.
        Run& broken = keep(QStringLiteral("unreadable:") + text(summary, "path"));
        broken.name = text(summary, "name");
        broken.path = text(summary, "path");
        broken.host = m_client->host();
        broken.problem = text(summary, "error");
        emit runAdded(broken.uuid);
      }
    }
  });
}

QString RunStore::takeSummary(const json& summary) {
  const QString uuid = text(summary, "uuid");
  if (uuid.isEmpty()) return {};
  const bool isNew = !run(uuid);
  Run& run = keep(uuid);
  run.name = text(summary, "name");
  run.path = text(summary, "path");
  run.host = m_client ? m_client->host() : QString();
  run.title = text(summary, "title");
  run.notes = text(summary, "notes");
  run.weightsRun = text(summary, "weights_run");
  if (const QString handle = text(summary, "run"); !handle.isEmpty()) {
    run.handle = handle;
    m_uuidOfHandle[handle] = uuid;
  }
  if (run.record.uuid.empty()) {
    run.record.uuid = uuid.toStdString();
    run.record.parent_uuid = text(summary, "parent_uuid").toStdString();
    run.record.kind = text(summary, "kind").toStdString();
    run.record.state = text(summary, "state").toStdString();
    run.record.created_utc = text(summary, "created_utc").toStdString();
    run.record.layers = static_cast<int>(integer(summary, "layers"));
  }
  if (const auto it = summary.find("config"); it != summary.end() && it->is_object()) {
    if (run.record.config.empty()) run.record.config = *it;
    run.totalSteps = plannedSteps(run.record);
  }
  if (const QString method = text(summary, "method"); !method.isEmpty()) run.method = method;
  if (const auto it = summary.find("recall"); it != summary.end() && it->is_number()) run.meanRecall = it->get<double>();
  if (isNew)
    emit runAdded(uuid);
  else
    emit runChanged(uuid);
  return uuid;
}

void RunStore::load(const QString& uuid) {
  Run* known = find(uuid);
  if (!known || known->path.isEmpty() || known->loading) return;
  if (m_client && m_client->isReplay()) return;
  known->loading = true;
  if (known->host.isEmpty())
    m_reader->read(known->path);
  else
    fetchFile(uuid);
}

// Committed files of another machine come in pieces into a cache by uuid and revision.
void RunStore::fetchFile(const QString& uuid) {
  const QString folder = QStandardPaths::writableLocation(QStandardPaths::CacheLocation) + QStringLiteral("/runs");
  QDir().mkpath(folder);
  const QString file = QStringLiteral("%1/%2.fmrun").arg(folder, QString(uuid).replace(u'/', u'_'));
  QFile::remove(file + QStringLiteral(".part"));
  fetchPiece(uuid, file, 0, {});
}

void RunStore::fetchPiece(const QString& uuid, const QString& file, qint64 offset, const QString& tag) {
  json params = {{"run", engineName(uuid).toStdString()}, {"path", "run.fmrun"}, {"offset", offset}, {"bytes", kPiece}};
  if (!tag.isEmpty()) params["tag"] = tag.toStdString();
  m_client->call(QStringLiteral("file.read"), params, this, [this, uuid, file, offset](const Reply& reply) {
    Run* known = find(uuid);
    if (!known) return;
    QFile part(file + QStringLiteral(".part"));
    const QByteArray bytes = reply.ok ? QByteArray::fromBase64(QByteArray::fromStdString(text(reply.result, "data").toStdString())) : QByteArray();
    if (!reply.ok || !part.open(QIODevice::Append) || part.write(bytes) != bytes.size()) {
      known->loading = false;
      known->problem = reply.ok ? part.errorString() : reply.failure.message;
      emit runChanged(uuid);
      return;
    }
    part.close();
    if (!reply.result.value("end", false) && !bytes.isEmpty()) return fetchPiece(uuid, file, offset + bytes.size(), text(reply.result, "tag"));
    QFile::remove(file);
    part.rename(file);
    m_uuidOfPath[QFileInfo(file).absoluteFilePath()] = uuid;
    m_reader->read(file);
  });
}

QString RunStore::addRecord(const RunRecord& record, const QString& name, const QString& path) {
  const QString uuid = q(record.uuid);
  const bool isNew = !run(uuid);
  Run& run = keep(uuid);
  run.record = record;
  run.name = name;
  run.path = path;
  run.method = methodOf(record);
  run.totalSteps = plannedSteps(record);
  emit isNew ? runAdded(uuid) : runChanged(uuid);
  return uuid;
}

void RunStore::runRead(const ReadRun& read) {
  const QString asked = m_uuidOfPath.take(read.path);
  if (!read.record) {
    Run* known = asked.isEmpty() ? const_cast<Run*>(runOfPath(read.path)) : find(asked);
    if (known) {
      known->loading = false;
      known->problem = read.failure.message;
      emit runChanged(known->uuid);
    } else {
      Run& broken = keep(QStringLiteral("unreadable:") + read.path);
      broken.name = read.name;
      broken.path = read.path;
      broken.problem = read.failure.message;
      emit runAdded(broken.uuid);
    }
    emit openFailed(read.path, read.failure);
    return;
  }
  // A file that could not be read a moment ago can be now.
  const QString uuid = q(read.record->uuid);
  if (const QString broken = QStringLiteral("unreadable:") + read.path; run(broken)) close(broken);
  const bool isNew = !run(uuid);
  Run& run = keep(uuid);
  RunRecord fresh = *read.record;
  if (!isNew && run.live) keepNewer(fresh, run.record);
  run.record = std::move(fresh);
  run.loading = false;
  run.problem.clear();
  if (asked.isEmpty()) {
    run.name = read.name;
    run.path = read.path;
    run.title = read.title;
    run.notes = read.notes;
  }
  run.method = methodOf(run.record);
  run.totalSteps = plannedSteps(run.record);
  if (!run.live && run.record.state == "running") run.provisional = true;
  if (isNew)
    emit runAdded(uuid);
  else
    emit runChanged(uuid);
  for (const SetEvaluations& set : run.record.evals) emit cellsChanged(uuid, q(set.set.name), {});
}

void RunStore::close(const QString& uuid) {
  const auto it = std::find_if(m_runs.begin(), m_runs.end(), [&](const auto& run) { return run->uuid == uuid; });
  if (it == m_runs.end()) return;
  m_uuidOfHandle.remove((*it)->handle);
  m_runs.erase(it);
  m_order.removeAll(uuid);
  emit runRemoved(uuid);
}

void RunStore::annotate(const QString& uuid, const QString& title, const QString& notes) {
  Run* known = find(uuid);
  if (!known || (known->title == title && known->notes == notes)) return;
  known->title = title;
  known->notes = notes;
  emit runChanged(uuid);
  if (m_client && m_client->isReady() && !m_client->isReplay()) {
    m_client->call(QStringLiteral("run.annotate"), {{"run", engineName(uuid).toStdString()}, {"title", title.toStdString()}, {"notes", notes.toStdString()}},
                   this, [this, path = known->displayPath()](const Reply& reply) {
                     if (!reply.ok) emit openFailed(path, reply.failure);
                   });
    return;
  }
  if (!known->host.isEmpty() || !QFileInfo(known->path).isDir()) return;
  try {
    write_notes({known->path.toStdString()}, {title.toStdString(), notes.toStdString()});
  } catch (const std::exception& error) {
    emit openFailed(known->path, {QStringLiteral("run"), QString::fromUtf8(error.what()), {}, 0, {}, {}});
  }
}

}  // namespace flashmorph
