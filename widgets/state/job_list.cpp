// SPDX-License-Identifier: GPL-3.0-or-later
#include "widgets/state/job_list.h"

#include <algorithm>

#include "widgets/client/engine_client.h"

namespace flashmorph {

namespace {
constexpr qsizetype kKeptJobs = 256;
QString q(const std::string& s) { return QString::fromStdString(s); }
}  // namespace

JobList::JobList(EngineClient* client, QObject* parent) : QObject(parent), m_client(client) {
  m_clock.start();
  if (!client) return;
  connect(client, &EngineClient::jobStateChanged, this, [this](const JobStateEvent& e) {
    Job& job = at(q(e.job));
    if (job.isOver()) return;  // the last word has been said
    job.state = q(e.state);
    if (!e.kind.empty()) job.kind = q(e.kind);
    if (!e.run.empty()) job.run = q(e.run);
    job.reason = q(e.reason);
    if (e.error)
      job.failure = Failure{q(e.error->stage), q(e.error->message), q(e.error->hint), e.error->code, m_client->outputTail(), job.id};
    const QString id = job.id;
    const bool over = job.isOver();
    emit jobChanged(id);
    if (over) emit jobEnded(id);
  });
  connect(client, &EngineClient::progressChanged, this, [this](const JobProgressEvent& e) {
    Job& job = at(q(e.job));
    job.what = q(e.what);
    job.done = e.done;
    job.total = e.total;
    job.eta_s = e.eta_s;
    job.tokensPerSecond = e.tokens_per_s;
    emit jobChanged(job.id);
  });
  connect(client, &EngineClient::heartbeat, this, [this](const HeartbeatEvent& e) {
    if (e.job.empty()) return;
    Job& job = at(q(e.job));
    job.step = e.step;
  });
  connect(client, &EngineClient::jobStarted, this, [this](const QString& id, const QString& stage, const nlohmann::json& answer) {
    Job& job = at(id);
    job.kind = stage;
    if (const auto it = answer.find("command"); it != answer.end() && it->is_string()) job.command = q(it->get<std::string>());
    if (const auto it = answer.find("run"); it != answer.end() && it->is_string()) job.run = q(it->get<std::string>());
    emit jobChanged(id);
  });
  connect(client, &EngineClient::connectionChanged, this, [this](EngineState state) {
    if (state == EngineState::lost || state == EngineState::absent || state == EngineState::missing) engineLost();
    if (state == EngineState::starting) {
      m_jobs.clear();
      emit reset();
    }
  });
}

Job& JobList::at(const QString& id) {
  for (Job& job : m_jobs)
    if (job.id == id) return job;
  if (m_jobs.size() >= kKeptJobs) {
    const auto over = std::find_if(m_jobs.begin(), m_jobs.end(), [](const Job& job) { return job.isOver(); });
    if (over != m_jobs.end()) {
      m_jobs.erase(over);
      emit reset();
    }
  }
  Job job;
  job.id = id;
  job.state = QStringLiteral("queued");
  m_jobs << job;
  emit jobAdded(id);
  return m_jobs.last();
}

const Job* JobList::find(const QString& id) const {
  for (const Job& job : m_jobs)
    if (job.id == id) return &job;
  return nullptr;
}

const Job* JobList::active() const {
  for (const Job& job : m_jobs)
    if (job.isActive()) return &job;
  return nullptr;
}

const Job* JobList::ofRun(const QString& handle) const {
  for (auto job = m_jobs.rbegin(); job != m_jobs.rend(); ++job)
    if (!job->isOver() && job->run == handle) return &*job;
  return nullptr;
}

void JobList::cancel(const QString& id, const QString& mode) {
  Job& job = at(id);
  if (job.isOver()) return;
  job.stopAsked = true;
  job.stopAsked_ms = now_ms();
  m_client->cancelJob(id, mode);
  emit jobChanged(id);
}

// Jobs die with their engine.
void JobList::engineLost() {
  for (qsizetype i = 0; i < m_jobs.size(); ++i) {
    Job& job = m_jobs[i];
    if (job.isOver()) continue;
    job.state = QStringLiteral("failed");
    job.reason = tr("the engine is gone");
    const QString id = job.id;
    emit jobChanged(id);
    emit jobEnded(id);
  }
}

}  // namespace flashmorph
