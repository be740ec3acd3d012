// SPDX-License-Identifier: Apache-2.0
// Back-pressure: what a slow reader loses and what it never loses, order, sequence numbers,
// batches.
#include "core/serve/outbox.h"

#include <atomic>
#include <map>
#include <thread>

#include <gtest/gtest.h>

#include "core/run/progress.h"

namespace flashmorph {
namespace {

using Json = nlohmann::json;
using std::chrono::milliseconds;

GateStepsEvent rows(int64_t step, int layers = 4) {
  GateStepsEvent event;
  event.job = "j1";
  event.step = {step};
  event.alpha = {std::vector<double>(static_cast<size_t>(layers), 0.25)};
  event.raw = event.alpha;
  event.loss = {1.5};
  event.penalty = {0.1};
  return event;
}

JobStateEvent state(const std::string& name) {
  JobStateEvent event;
  event.job = "j1";
  event.state = name;
  return event;
}

std::vector<Json> drain(Outbox& outbox, milliseconds patience = milliseconds(0)) {
  std::vector<Json> lines;
  while (auto line = outbox.next(patience)) {
    EXPECT_EQ(line->back(), '\n');
    EXPECT_EQ(std::count(line->begin(), line->end(), '\n'), 1);
    lines.push_back(Json::parse(*line));
    Message::parse(*line);  // throws if a strict reader would refuse it
  }
  return lines;
}

TEST(Outbox, SequenceNumbersRiseWithoutGapsAndAnswersHaveNone) {
  Outbox outbox;
  outbox.answer(Message::result(7, {{"a", 1}}));
  for (int i = 0; i < 5; ++i) outbox.tell(state("queued"));
  const auto lines = drain(outbox);
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_EQ(lines[0].at("id"), 7);
  for (size_t i = 1; i < lines.size(); ++i) EXPECT_EQ(lines[i].at("params").at("seq"), i);
}

TEST(Outbox, RowsOfHundredMillisecondsAreOneLine) {
  Outbox outbox({.batch = milliseconds(60)});
  for (int64_t step = 1; step <= 10; ++step) outbox.tell(rows(step));
  EXPECT_FALSE(outbox.next(milliseconds(0)).has_value());  // not yet
  const auto lines = drain(outbox, milliseconds(200));
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].at("params").at("step").size(), 10u);
  EXPECT_EQ(lines[0].at("params").at("alpha").size(), 10u);
}

TEST(Outbox, AStateIsReadAfterTheRowsBeforeIt) {
  Outbox outbox;
  outbox.tell(rows(1));
  outbox.tell(state("finished"));
  const auto lines = drain(outbox);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].at("method"), "gates.steps");
  EXPECT_EQ(lines[1].at("method"), "job.state");
}

TEST(Outbox, RowsThatDoNotBelongTogetherAreTwoLines) {
  Outbox outbox;
  outbox.tell(rows(1));
  GateStepsEvent other = rows(2);
  other.job = "j2";
  outbox.tell(other);
  outbox.tell(rows(1));  // steps that do not rise
  outbox.close();
  EXPECT_EQ(drain(outbox).size(), 3u);
}

TEST(Outbox, OfHeartbeatAndProgressTheNewestSurvives) {
  Outbox outbox;
  for (int i = 0; i < 100; ++i) {
    HeartbeatEvent beat;
    beat.t_s = i;
    outbox.tell(beat);
    for (const char* job : {"j1", "j2"})
      outbox.tell(JobProgressEvent{job, "steps", i, 100, 1.0, 1.0});
  }
  const auto lines = drain(outbox);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].at("params").at("t_s"), 99.0);
  EXPECT_EQ(lines[1].at("params").at("done"), 99);
  HeartbeatEvent beat;  // one that was taken is replaced by nothing
  outbox.tell(beat);
  EXPECT_EQ(drain(outbox).size(), 1u);
}

TEST(Outbox, ASlowReaderLosesRowsAndIsToldWhich) {
  constexpr int kStates = 200;
  Outbox outbox({.soft_bytes = 20000, .hard_bytes = 10000000, .batch = milliseconds(0)});
  size_t most = 0;
  for (int64_t step = 1; step <= 20000; ++step) {
    outbox.tell(rows(step, 48));
    if (step % 100 == 0) outbox.tell(state("queued"));
    most = std::max(most, outbox.bytes());
  }
  outbox.close();
  EXPECT_LT(most, 400000u);  // 20,000 rows of some 700 bytes would be 14 MB
  int64_t every = 1, told = 0, row_count = 0, states = 0;
  for (const Json& line : drain(outbox)) {
    const Json& params = line.at("params");
    if (line.at("method") == "engine.thinned") {
      EXPECT_EQ(params.at("stream"), "gates.steps");
      every = params.at("every");
      ++told;
    } else if (line.at("method") == "gates.steps") {
      for (const auto& step : params.at("step")) {
        EXPECT_EQ(step.get<int64_t>() % every, 0);
        ++row_count;
      }
    } else {
      ++states;
    }
  }
  EXPECT_GT(told, 0);
  EXPECT_GT(row_count, 0);
  EXPECT_EQ(states, kStates);
}

TEST(Outbox, ThinningEndsWhenTheReaderCatchesUp) {
  Outbox outbox({.soft_bytes = 4000, .batch = milliseconds(0)});
  int64_t step = 1;
  while (step <= 200) {
    outbox.tell(rows(step++));
    outbox.tell(state("queued"));  // makes a line of each row
  }
  auto lines = drain(outbox);
  outbox.tell(rows(step++));
  outbox.tell(state("queued"));
  for (const Json& line : drain(outbox)) lines.push_back(line);
  std::vector<int64_t> every;
  for (const Json& line : lines)
    if (line.at("method") == "engine.thinned") every.push_back(line.at("params").at("every"));
  ASSERT_GE(every.size(), 2u);
  EXPECT_EQ(every.front(), 2);
  EXPECT_EQ(every.back(), 1);
  EXPECT_EQ(lines[lines.size() - 2].at("params").at("step").back(),
            step - 1);  // the newest row came
}

TEST(Outbox, LogLinesThatWaitAreBounded) {
  Outbox outbox({.logs = 10});
  for (int i = 0; i < 1000; ++i) outbox.tell(LogEvent{"info", std::to_string(i), ""});
  const auto lines = drain(outbox);
  ASSERT_EQ(lines.size(), 10u);
  EXPECT_EQ(lines.back().at("params").at("message"), "999");
  EXPECT_EQ(outbox.bytes(), 0u);
}

TEST(Outbox, AnAnswerThatDoesNotFitBecomesAnError) {
  Outbox outbox;
  outbox.answer(Message::result(3, std::string(2 << 20, 'x')));
  const auto lines = drain(outbox);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].at("id"), 3);
  EXPECT_EQ(lines[0].at("error").at("code"), -32603);
}

TEST(Outbox, TheWorkerWaitsForRoomAndControlDoesNot) {
  Outbox outbox({.hard_bytes = 5000});
  for (int i = 0; i < 100; ++i) outbox.tell(state("queued"));
  std::atomic<bool> through{false};
  std::thread worker([&] {
    outbox.wait_for_room({});
    through = true;
  });
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_FALSE(through);
  outbox.answer(Message::result(1, 1));  // does not wait
  while (outbox.bytes() >= 5000) outbox.next(milliseconds(0));
  worker.join();
  EXPECT_TRUE(through);
}

TEST(Outbox, AStopEndsTheWait) {
  Outbox outbox({.hard_bytes = 100});
  for (int i = 0; i < 10; ++i) outbox.tell(state("queued"));
  StopFlag stop;
  std::thread worker([&] { outbox.wait_for_room([&] { return stop.is_set(); }); });
  stop.set();
  worker.join();
  std::thread other([&] { outbox.wait_for_room({}); });
  outbox.close();
  other.join();
}

TEST(Outbox, NothingIsLostOrDoubledBetweenThreads) {
  Outbox outbox({.soft_bytes = 2000, .batch = milliseconds(1)});
  constexpr int kEach = 2000;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        if (t == 0) outbox.answer(Message::result(i, nullptr));
        if (t == 1) outbox.tell(state(std::to_string(i)));
        if (t == 2) outbox.tell(rows(i + 1));
      }
    });
  std::map<std::string, int> next;
  uint64_t seq = 0;
  std::atomic<bool> over{false};
  std::thread reader([&] {
    while (!outbox.drained()) {
      const auto line = outbox.next(milliseconds(5));
      if (!line) continue;
      const Json json = Json::parse(*line);
      if (json.contains("id")) {
        EXPECT_EQ(json.at("id"), next["answer"]++);
        continue;
      }
      EXPECT_EQ(json.at("params").at("seq"), ++seq);
      if (json.at("method") == "job.state")
        EXPECT_EQ(json.at("params").at("state"), std::to_string(next["state"]++));
    }
    over = true;
  });
  for (auto& thread : threads) thread.join();
  outbox.close();
  reader.join();
  EXPECT_EQ(next["answer"], kEach);
  EXPECT_EQ(next["state"], kEach);
}

}  // namespace
}  // namespace flashmorph
