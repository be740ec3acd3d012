// SPDX-License-Identifier: GPL-3.0-or-later
// The live side of the store: events of running jobs find their run, wait until it is known, and are
// applied ten times a second.
#include <algorithm>

#include "core/run/record_events.h"
#include "widgets/state/run_method.h"
#include "widgets/state/run_store.h"

namespace flashmorph {

using nlohmann::json;

namespace {

constexpr size_t kMostPending = 20'000;
constexpr int kOpenAgain_ms = 250, kOpenTries = 40;

QString q(const std::string& s) { return QString::fromStdString(s); }
QString text(const json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_string() ? q(it->get<std::string>()) : QString();
}

}  // namespace

void RunStore::gather(const std::string& job, Event event) {
  // Bounded: a run nobody can resolve must not fill the memory.
  if (m_pending.size() >= kMostPending) m_pending.erase(m_pending.begin(), m_pending.begin() + kMostPending / 4);
  m_pending.push_back({q(job), std::move(event)});
  if (!m_apply.isActive()) m_apply.start();
}

void RunStore::applyPending() {
  std::vector<LiveEvent> waiting;
  QSet<QString> rows, changed;
  std::vector<LiveEvent> events = std::exchange(m_pending, {});
  for (LiveEvent& live : events)
    if (!applyOne(live, rows, changed)) waiting.push_back(std::move(live));
  m_pending.insert(m_pending.begin(), std::make_move_iterator(waiting.begin()), std::make_move_iterator(waiting.end()));
  for (const QString& uuid : std::as_const(rows)) emit gatesAppended(uuid);
  for (const QString& uuid : std::as_const(changed)) emit runChanged(uuid);
}

// false: its run or eval set is not known yet, try again later.
bool RunStore::applyOne(const LiveEvent& live, QSet<QString>& rows, QSet<QString>& changed) {
  const QString handle = m_handleOfJob.value(live.job);
  if (handle.isEmpty()) return true;  // a job we never heard of
  Run* run = find(m_uuidOfHandle.value(handle));
  if (!run) return !m_resolving.contains(handle);
  RunRecord& record = run->record;
  const auto* cells = std::get_if<EvalCellsEvent>(&live.event);
  if (cells && std::none_of(record.evals.begin(), record.evals.end(), [&](const SetEvaluations& s) { return s.set.name == cells->set; })) {
    const QString set = q(cells->set);
    const QString key = run->uuid + u'/' + set;
    if (!m_asked.contains(key)) {
      m_asked.insert(key);
      askForSets(run->uuid, set);
    }
    return m_refused.contains(key);
  }
  if (record.layers == 0) {
    if (const auto* gates = std::get_if<GateStepsEvent>(&live.event); gates && !gates->alpha.empty()) record.layers = static_cast<int>(gates->alpha[0].size());
    if (const auto* align = std::get_if<AlignStepsEvent>(&live.event); align && !align->layer_loss.empty())
      record.layers = static_cast<int>(align->layer_loss[0].size());
  }
  try {
    apply_event(record, live.event);
  } catch (const std::exception& error) {
    if (run->problem.isEmpty()) {
      run->problem = tr("live rows do not fit this run: %1").arg(QString::fromUtf8(error.what()));
      changed.insert(run->uuid);
    }
    return true;
  }
  if (cells) {
    emit cellsChanged(run->uuid, q(cells->set), q(cells->plan));
    // Siblings show the same evaluations.
    changed.insert(run->uuid);
  } else {
    if (run->method.isEmpty()) run->method = methodOf(record);
    rows.insert(run->uuid);
  }
  return true;
}

void RunStore::askForSets(const QString& uuid, const QString& set) {
  m_client->call(QStringLiteral("eval_set.list"), {{"run", engineName(uuid).toStdString()}}, this, [this, uuid, set](const Reply& reply) {
    Run* known = find(uuid);
    if (!known) return;
    bool found = set.isEmpty();
    const size_t before = known->record.evals.size();
    if (reply.ok && reply.result.contains("sets") && reply.result["sets"].is_array())
      for (json item : reply.result["sets"]) {
        if (!item.is_object()) continue;
        item.erase("hash");
        item.erase("evaluations");
        try {
          known->record.keep_set(EvalSet::from_json(item, "eval_set.list"));
          found = found || text(item, "name") == set;
        } catch (const std::exception&) {
          // A set of a newer engine: its cells cannot be placed.
        }
      }
    if (!found) m_refused.insert(uuid + u'/' + set);
    if (known->record.evals.size() > before) emit runChanged(uuid);
    if (!m_apply.isActive()) m_apply.start();
  });
}

void RunStore::resolveHandle(const QString& handle, const QString& kind) {
  if (handle.isEmpty() || m_uuidOfHandle.contains(handle) || m_resolving.contains(handle)) return;
  m_resolving.insert(handle);
  askForRun(handle, kind, kOpenTries);
}

void RunStore::askForRun(const QString& handle, const QString& kind, int tries) {
  m_client->call(QStringLiteral("run.open"), {{"run", handle.toStdString()}}, this, [this, handle, kind, tries](const Reply& reply) {
    if (!m_resolving.contains(handle)) return;  // the engine it was of is gone
    // A job tells its run before it has made the folder; its events wait meanwhile.
    if (!reply.ok && tries > 1 && m_client->isReady() && !m_client->isReplay()) {
      QTimer::singleShot(kOpenAgain_ms, this, [this, handle, kind, tries] {
        if (m_resolving.contains(handle)) askForRun(handle, kind, tries - 1);
      });
      return;
    }
    m_resolving.remove(handle);
    QString uuid = reply.ok ? takeSummary(reply.result) : QString();
    if (uuid.isEmpty()) {
      // A recording without this answer: the run lives from its events alone.
      RunRecord record = new_run_record(kind.toStdString(), 0);
      record.state = "running";
      uuid = addRecord(record, QStringLiteral("%1 %2").arg(kind.isEmpty() ? tr("run") : kind, handle));
    }
    m_uuidOfHandle[handle] = uuid;
    Run& run = keep(uuid);
    run.handle = handle;
    for (auto it = m_handleOfJob.begin(); it != m_handleOfJob.end(); ++it)
      if (it.value() == handle)
        if (const Job* job = m_jobs->find(it.key())) {
          run.job = job->id;
          run.live = run.live || !job->isOver();
        }
    run.provisional = run.live && m_kindOfJob.value(run.job) != u"eval";
    load(uuid);
    if (reply.ok) refreshSets(uuid);
    emit runChanged(uuid);
    if (!m_apply.isActive()) m_apply.start();
  });
}

void RunStore::jobStateArrived(const JobStateEvent& event) {
  const QString job = q(event.job), handle = event.run.empty() ? m_handleOfJob.value(job) : q(event.run);
  m_handleOfJob[job] = handle;
  if (!event.kind.empty()) m_kindOfJob[job] = q(event.kind);
  resolveHandle(handle, q(event.kind));
  applyPending();
  Run* run = find(m_uuidOfHandle.value(handle));
  if (!run) return;
  const bool over = event.state == "finished" || event.state == "failed" || event.state == "cancelled" || event.state == "superseded";
  run->job = job;
  run->live = !over;
  const bool own = m_kindOfJob.value(job) == q(run->record.kind);
  if (own) {
    run->provisional = !over || event.state != "finished";
    run->record.state = event.state;
  }
  if (over) {
    run->thinnedEvery = 1;
    load(run->uuid);
  }
  emit runChanged(run->uuid);
}

void RunStore::committed(const RunCommittedEvent& event) {
  Run* run = find(m_uuidOfHandle.value(q(event.run)));
  if (!run) return;
  if (!run->live || run->thinnedEvery > 1 || run->record.model.empty()) load(run->uuid);
}

void RunStore::engineLost() {
  for (const auto& run : m_runs) {
    const bool was = run->live;
    run->live = false;
    run->handle.clear();
    if (was) emit runChanged(run->uuid);
  }
  m_uuidOfHandle.clear();
  m_handleOfJob.clear();
  m_kindOfJob.clear();
  m_resolving.clear();
  m_asked.clear();
  m_refused.clear();
}

}  // namespace flashmorph
