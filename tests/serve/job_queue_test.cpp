// SPDX-License-Identifier: Apache-2.0
// The queue with jobs that do nothing: order, slots, pause, cancel, last words, reasons to wait.
#include "core/serve/job_queue.h"

#include <atomic>
#include <random>
#include <set>
#include <thread>

#include <gtest/gtest.h>

namespace flashmorph {
namespace {

using std::chrono::milliseconds;

// A queue with a worker; jobs run until their stop flag is set or they are let go.
class Bench {
 public:
  Bench()
      : queue([this](const JobStateEvent& event) { note(event); }), worker_([this] { work(); }) {}
  ~Bench() {
    queue.stop();
    worker_.join();
  }

  std::string add(const std::string& kind, const std::string& slot = {}, bool quick = false) {
    JobSpec spec;
    spec.id = queue.next_id();
    spec.kind = kind;
    spec.slot = slot;
    spec.run = "r1";
    spec.evaluation = kind == "eval";
    spec.work = [this, quick](const JobTurn& turn) {
      {
        const std::lock_guard guard(mutex_);
        order_.push_back(turn.id.to_string() + (turn.again ? " again" : ""));
      }
      while (!turn.stop.is_set() && !quick && !finish.exchange(false))
        std::this_thread::sleep_for(milliseconds(1));
      return turn.stop.is_set() ? WorkEnd::stopped : WorkEnd::finished;
    };
    const std::string id = spec.id.to_string();
    queue.add(std::move(spec));
    return id;
  }
  void wait(const std::string& job, const std::string& state) {
    for (int i = 0; i < 2000; ++i) {
      const auto status = queue.find(*JobId::parse(job));
      if (status && status->state == state) return;
      std::this_thread::sleep_for(milliseconds(1));
    }
    FAIL() << job << " never was " << state << ", it is " << queue.find(*JobId::parse(job))->state;
  }
  std::vector<std::string> states(const std::string& job) {
    const std::lock_guard guard(mutex_);
    std::vector<std::string> all;
    for (const JobStateEvent& event : events_)
      if (event.job == job && (all.empty() || all.back() != event.state))
        all.push_back(event.state);
    return all;
  }
  std::vector<std::string> order() {  // of the worker
    const std::lock_guard guard(mutex_);
    return order_;
  }
  std::vector<JobStateEvent> events() {
    const std::lock_guard guard(mutex_);
    return events_;
  }

  std::atomic<bool> finish{false};
  JobQueue queue;

 private:
  void note(const JobStateEvent& event) {
    const std::lock_guard guard(mutex_);
    events_.push_back(event);
  }
  void work() {
    while (auto task = queue.take()) {
      if (task->chore) {
        task->chore();
        queue.chore_done();
        continue;
      }
      WorkEnd end = WorkEnd::finished;
      std::optional<Error> error;
      try {
        end = task->work(task->turn);
      } catch (const Error& thrown) {
        error = thrown;
      }
      queue.done(task->turn.id, end, error, 123);
    }
  }
  std::mutex mutex_;
  std::vector<JobStateEvent> events_;
  std::vector<std::string> order_;
  std::thread worker_;
};

using Names = std::vector<std::string>;

TEST(JobQueue, JobsRunOneAfterTheOther) {
  Bench bench;
  const std::string a = bench.add("gates"), b = bench.add("align");
  bench.wait(a, "running");
  EXPECT_EQ(bench.queue.find(*JobId::parse(b))->reason, "waits for j1 (gates)");
  bench.finish = true;
  bench.wait(a, "finished");
  bench.wait(b, "running");
  bench.finish = true;
  bench.wait(b, "finished");
  EXPECT_EQ(bench.states(a), (Names{"queued", "running", "finished"}));
}

TEST(JobQueue, CancelIsIdempotentAndHasTheLastWord) {
  Bench bench;
  const std::string a = bench.add("gates"), b = bench.add("gates");
  bench.wait(a, "running");
  EXPECT_EQ(bench.queue.cancel({2}, false), "cancelled");  // it had not begun
  EXPECT_EQ(bench.queue.cancel({2}, false), "cancelled");
  EXPECT_EQ(bench.queue.cancel({1}, false), "cancelling");
  bench.wait(a, "cancelled");
  EXPECT_EQ(bench.queue.cancel({1}, false), "cancelled");
  EXPECT_EQ(bench.states(a), (Names{"queued", "running", "cancelling", "cancelled"}));
  EXPECT_EQ(bench.states(b), (Names{"queued", "cancelled"}));
  EXPECT_EQ(bench.queue.find({1})->freed_bytes, 123);
  EXPECT_THROW(bench.queue.cancel({99}, false), Error);
}

TEST(JobQueue, AFailedJobCarriesItsErrorAndTheQueueGoesOn) {
  Bench bench;
  JobSpec spec;
  spec.id = bench.queue.next_id();
  spec.kind = "gates";
  spec.work = [](const JobTurn&) -> WorkEnd {
    throw Error("gates", ErrorCode::non_finite, "step 3, layer 2", "lower lr");
  };
  bench.queue.add(spec);
  bench.wait("j1", "failed");
  const auto status = bench.queue.find({1});
  ASSERT_TRUE(status->error.has_value());
  EXPECT_EQ(status->error->code, 1010);
  EXPECT_EQ(status->error->hint, "lower lr");
  const std::string next = bench.add("align", {}, true);
  bench.wait(next, "finished");
}

TEST(JobQueue, ANewerJobInTheSlotSupersedesRunningAndWaiting) {
  Bench bench;
  const std::string a = bench.add("eval", "budget");
  bench.wait(a, "running");
  const std::string b = bench.add("eval", "budget"), c = bench.add("eval", "budget");
  bench.wait(a, "superseded");
  bench.wait(b, "superseded");
  bench.wait(c, "running");
  EXPECT_EQ(bench.states(a), (Names{"queued", "running", "cancelling", "superseded"}));
  EXPECT_EQ(bench.states(b), (Names{"queued", "superseded"}));
  EXPECT_EQ(bench.queue.find({1})->reason, "superseded by j2");
  bench.finish = true;
  bench.wait(c, "finished");
}

TEST(JobQueue, EvaluationsByHandWaitBehindTheSlot) {
  Bench bench;
  const std::string training = bench.add("gates");
  bench.wait(training, "running");
  const std::string hand = bench.add("eval", {}, true), slot = bench.add("eval", "budget", true);
  bench.finish = true;
  bench.wait(hand, "finished");
  EXPECT_EQ(bench.order(), (Names{"j1", slot, hand}));
}

TEST(JobQueue, PauseLetsEvaluationsRunAndKeepsTheTurn) {
  Bench bench;
  const std::string training = bench.add("gates");
  bench.wait(training, "running");
  const std::string other = bench.add("align", {}, true), eval = bench.add("eval", {}, true);
  std::string state;
  EXPECT_TRUE(bench.queue.pause({1}, state));
  EXPECT_EQ(state, "running");
  bench.wait(training, "paused");
  bench.wait(eval, "finished");
  EXPECT_EQ(bench.queue.find({2})->state, "queued");
  EXPECT_EQ(bench.queue.find({2})->reason, "waits for j1 (gates), which is paused");
  EXPECT_EQ(bench.queue.resume({1}), "queued");
  bench.wait(training, "running");
  bench.finish = true;
  bench.wait(other, "finished");
  EXPECT_EQ(bench.order(), (Names{"j1", eval, "j1 again", other}));
  EXPECT_EQ(bench.states(training),
            (Names{"queued", "running", "paused", "queued", "running", "finished"}));
}

TEST(JobQueue, ResumeBeforeThePauseHasComeGoesOn) {
  Bench bench;
  const std::string job = bench.add("gates");
  bench.wait(job, "running");
  std::string state;
  bench.queue.pause({1}, state);
  bench.queue.resume({1});
  for (int i = 0; i < 2000 && bench.order().size() < 2; ++i)
    std::this_thread::sleep_for(milliseconds(1));
  bench.wait(job, "running");
  EXPECT_EQ(bench.order().back(), "j1 again");
  bench.finish = true;
  bench.wait(job, "finished");
}

TEST(JobQueue, WhatKeepsNoCheckpointCannotBePaused) {
  Bench bench;
  JobSpec spec;
  spec.id = bench.queue.next_id();
  spec.kind = "select";
  spec.pausable = false;
  spec.why_not_pausable = "it keeps no checkpoint";
  spec.work = [](const JobTurn& turn) {
    while (!turn.stop.is_set()) std::this_thread::sleep_for(milliseconds(1));
    return WorkEnd::stopped;
  };
  bench.queue.add(spec);
  bench.wait("j1", "running");
  std::string state;
  EXPECT_THROW(bench.queue.pause({1}, state), Error);
  bench.queue.cancel({1}, false);
  bench.wait("j1", "cancelled");
  EXPECT_FALSE(bench.queue.pause({1}, state));
  EXPECT_EQ(state, "cancelled");
}

TEST(JobQueue, ChoresAreRefusedWhileAJobRuns) {
  Bench bench;
  const std::string job = bench.add("gates");
  bench.wait(job, "running");
  try {
    bench.queue.add_chore("loading a model", [] {});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::busy);
    EXPECT_NE(error.message().find("j1"), std::string::npos);
  }
  bench.finish = true;
  bench.wait(job, "finished");
  std::atomic<bool> done{false};
  bench.queue.add_chore("loading a model", [&] { done = true; });
  for (int i = 0; i < 2000 && !done; ++i) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_TRUE(done);
}

TEST(JobQueue, AStoppingEngineCancelsWhatWaitsAndStopsWhatRuns) {
  Bench bench;
  const std::string a = bench.add("gates"), b = bench.add("eval");
  bench.wait(a, "running");
  bench.queue.stop();
  bench.wait(a, "cancelled");
  EXPECT_EQ(bench.states(b), (Names{"queued", "cancelled"}));
  const std::string late = bench.add("eval");
  EXPECT_EQ(bench.states(late), (Names{"cancelled"}));
}

TEST(JobQueue, OnlySoManyMayWait) {
  Bench bench;
  bench.wait(bench.add("gates"), "running");
  for (size_t i = 1; i < JobQueue::kMostWaiting; ++i) bench.add("eval");
  EXPECT_THROW(bench.queue.check_room(), Error);
}

// Everybody pushes at once; each job still has exactly one last word, and nothing follows it.
TEST(JobQueue, NothingFollowsALastWordHoweverThreadsMeet) {
  Bench bench;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      for (int i = 0; i < 150; ++i) {
        const JobId id{1 + static_cast<int64_t>(random() % 100)};
        std::string state;
        try {
          switch (random() % 6) {
            case 0:
              bench.queue.cancel(id, random() % 2);
              break;
            case 1:
              bench.queue.pause(id, state);
              break;
            case 2:
              bench.queue.resume(id);
              break;
            case 3:
              bench.finish = true;
              break;
            case 4:
              bench.queue.list();
              break;
            default:
              bench.add(random() % 2 ? "eval" : "gates", random() % 2 ? "budget" : "",
                        random() % 2);
          }
        } catch (const Error&) {
          // a job that is not there yet
        }
      }
    });
  for (auto& thread : threads) thread.join();
  bench.queue.stop();
  for (int i = 0; i < 2000 && bench.queue.running(); ++i)
    std::this_thread::sleep_for(milliseconds(1));
  const std::set<std::string> ends = {"finished", "failed", "cancelled", "superseded"};
  std::set<std::string> over;
  for (const JobStateEvent& event : bench.events()) {
    EXPECT_EQ(over.count(event.job), 0u) << event.job << " was over, then " << event.state;
    if (ends.count(event.state)) over.insert(event.job);
  }
}

}  // namespace
}  // namespace flashmorph
