// SPDX-License-Identifier: GPL-3.0-or-later
// When to ask the engine for the recall of the plan on the screen: after 300 ms at rest and if it is
// quick, or by hand. A newer plan takes the slot; what comes late stays with its own plan.
#pragma once

#include <optional>

#include <QObject>
#include <QTimer>

#include "widgets/client/engine_client.h"
#include "widgets/state/run_store.h"

namespace flashmorph {

/// What is on the screen.
struct ShownPlan {
  QString run;   ///< uuid
  QString plan;  ///< text form
  QString set;   ///< name; empty: the engine's default set
  QString weights = QStringLiteral("aligned");
  bool complete = false;  ///< every trial of every cell is known

  bool samePlan(const ShownPlan& other) const { return run == other.run && plan == other.plan && set == other.set && weights == other.weights; }
};

class PlanEvaluation : public QObject {
  Q_OBJECT
 public:
  static constexpr int kRest_ms = 300;
  static constexpr double kQuick_s = 60;

  PlanEvaluation(EngineClient* client, RunStore* store, QObject* parent = nullptr);

  void setWhenIdle(bool on);
  bool whenIdle() const { return m_whenIdle; }
  /// The plan on the screen now; the rest begins anew if it is another.
  void show(const ShownPlan& plan);
  /// By hand: whatever it takes, queued behind the slot.
  void evaluateNow();

  enum class State { nothing, complete, resting, estimating, slow, asked, failed, noEngine };
  State state() const { return m_state; }
  std::optional<double> estimate_s() const { return m_estimate; }
  QString job() const { return m_job; }  ///< of the shown plan; empty: none
  /// One line about what happens to the shown plan.
  QString words() const;

 signals:
  void changed();

 private:
  void rested();
  void ask(bool byHand);
  nlohmann::json request(bool byHand) const;
  void set(State state, const QString& words = {});
  void jobChanged(const JobStateEvent& event);

  EngineClient* m_client;
  RunStore* m_store;
  ShownPlan m_shown;
  QTimer m_rest;
  bool m_whenIdle = true;
  State m_state = State::nothing;
  std::optional<double> m_estimate;
  QString m_job, m_words;
  QString m_default;  ///< what the engine called its default set
  int m_number = 0;  ///< of the shown plan: answers for an older number are dropped
};

}  // namespace flashmorph
