// SPDX-License-Identifier: GPL-3.0-or-later
// Rest, estimate, request.
#include "widgets/pages/plan_evaluation.h"

#include "widgets/format/format.h"

namespace flashmorph {

PlanEvaluation::PlanEvaluation(EngineClient* client, RunStore* store, QObject* parent) : QObject(parent), m_client(client), m_store(store) {
  m_rest.setSingleShot(true);
  m_rest.setInterval(kRest_ms);
  connect(&m_rest, &QTimer::timeout, this, &PlanEvaluation::rested);
  if (!client) return;
  connect(client, &EngineClient::jobStateChanged, this, &PlanEvaluation::jobChanged);
  connect(client, &EngineClient::connectionChanged, this, [this] {
    m_job.clear();
    const ShownPlan shown = m_shown;
    m_shown = {};
    show(shown);
  });
}

void PlanEvaluation::set(State state, const QString& words) {
  m_state = state;
  m_words = words;
  emit changed();
}

void PlanEvaluation::setWhenIdle(bool on) {
  if (on == m_whenIdle) return;
  m_whenIdle = on;
  const ShownPlan shown = m_shown;
  m_shown = {};
  show(shown);
}

void PlanEvaluation::show(const ShownPlan& plan) {
  // The default set has got its name: what was asked for is still that.
  if (m_shown.set.isEmpty() && !m_default.isEmpty() && plan.set == m_default) m_shown.set = plan.set;
  const bool same = plan.samePlan(m_shown);
  if (same && plan.complete == m_shown.complete) return;
  m_shown = plan;
  if (!same) {
    ++m_number;
    m_job.clear();
    m_estimate.reset();
  }
  if (plan.run.isEmpty() || plan.plan.isEmpty()) {
    m_rest.stop();
    return set(State::nothing);
  }
  if (plan.complete) {
    m_rest.stop();
    return set(State::complete);
  }
  if (same && !m_job.isEmpty()) return;  // cells of the running job are coming in
  if (!m_client || !m_client->isReady() || m_client->isReplay()) {
    m_rest.stop();
    return set(State::noEngine, m_client && m_client->isReplay() ? tr("a recording: only what was evaluated then is there") : tr("no engine: cached maps only"));
  }
  m_rest.start();
  set(State::resting);
}

nlohmann::json PlanEvaluation::request(bool byHand) const {
  nlohmann::json params{{"run", m_store->engineName(m_shown.run).toStdString()}, {"plan", m_shown.plan.toStdString()}, {"weights", m_shown.weights.toStdString()}};
  if (!m_shown.set.isEmpty()) params["set"] = m_shown.set.toStdString();
  if (!byHand) params["slot"] = "budget";
  return params;
}

void PlanEvaluation::rested() {
  if (m_state != State::resting) return;
  nlohmann::json params = request(true);
  params["stage"] = "eval";
  params["plans"] = nlohmann::json::array({params["plan"]});
  params.erase("plan");
  set(State::estimating, tr("estimating"));
  m_client->call(QStringLiteral("preflight"), params, this, [this, number = m_number](const Reply& reply) {
    if (number != m_number || m_state != State::estimating) return;  // another plan is shown by now
    if (!reply.ok) return set(State::failed, reply.failure.message);
    for (const auto& row : reply.result.value("rows", nlohmann::json::array()))
      if (row.is_object() && row.value("level", std::string()) == "stop") return set(State::failed, QString::fromStdString(row.value("text", std::string())));
    const auto estimate = reply.result.find("estimate_s");
    m_estimate = estimate != reply.result.end() && estimate->is_number() ? std::optional(estimate->get<double>()) : std::nullopt;
    if (!m_whenIdle) return set(State::slow, tr("not evaluated, about %1; press E").arg(m_estimate ? format::duration(*m_estimate) : tr("an unknown time")));
    if (!m_estimate || *m_estimate >= kQuick_s) return set(State::slow, tr("takes about %1; press E").arg(m_estimate ? format::duration(*m_estimate) : tr("an unknown time")));
    ask(false);
  });
}

void PlanEvaluation::evaluateNow() {
  if (m_shown.plan.isEmpty() || m_shown.complete || m_state == State::asked) return;
  if (!m_client || !m_client->isReady() || m_client->isReplay()) return set(State::noEngine, tr("no engine to evaluate with; start one in the Engine menu"));
  m_rest.stop();
  ask(true);
}

void PlanEvaluation::ask(bool byHand) {
  set(State::asked, tr("asked"));
  m_client->call(QStringLiteral("eval.start"), request(byHand), this, [this, number = m_number](const Reply& reply) {
    if (number != m_number) return;  // its cells go to its own plan, nothing here waits for them
    if (!reply.ok) return set(State::failed, reply.failure.hint.isEmpty() ? reply.failure.message : reply.failure.message + QStringLiteral("; ") + reply.failure.hint);
    m_job = QString::fromStdString(reply.result.value("job", std::string()));
    if (m_shown.set.isEmpty()) m_default = QString::fromStdString(reply.result.value("set", std::string()));
    const auto estimate = reply.result.find("estimate_s");
    if (estimate != reply.result.end() && estimate->is_number()) m_estimate = estimate->get<double>();
    set(State::asked, m_estimate ? tr("evaluating, about %1").arg(format::duration(*m_estimate)) : tr("evaluating"));
  });
}

void PlanEvaluation::jobChanged(const JobStateEvent& event) {
  if (m_job.isEmpty() || QString::fromStdString(event.job) != m_job) return;
  if (event.state == "queued") {
    const QString reason = QString::fromStdString(event.reason);
    set(State::asked, reason.isEmpty() ? tr("queued") : tr("waits for %1").arg(reason));
  } else if (event.state == "running") {
    set(State::asked, m_estimate ? tr("evaluating, about %1").arg(format::duration(*m_estimate)) : tr("evaluating"));
  } else if (event.state == "failed") {
    m_job.clear();
    set(State::failed, event.error ? QString::fromStdString(event.error->message) : tr("the evaluation failed"));
  } else if (event.state == "cancelled" || event.state == "superseded") {
    m_job.clear();
    set(State::slow, tr("stopped; press E to go on"));
  } else if (event.state == "finished") {
    m_job.clear();
    set(State::complete);
  }
}

QString PlanEvaluation::words() const { return m_words; }

}  // namespace flashmorph
