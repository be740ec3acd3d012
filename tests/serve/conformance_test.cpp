// SPDX-License-Identifier: Apache-2.0
// The real engine over pipes on the demo teacher: good, broken, oversized, out-of-order and
// flooding input; cancel, slots, pause, a line that drops, and a stdout that carries nothing else.
#include <random>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "core/run/run_folder.h"
#include "tests/serve/strict_client.h"

namespace flashmorph {
namespace {

using namespace pipes;

Json gates(int steps, const std::string& run) {
  return {{"model", kTeacher}, {"device", "cpu"}, {"dtype", "float32"}, {"aligned", kBranches},
          {"run", run},        {"steps", steps},  {"length_min", 96},   {"length_max", 128},
          {"length_count", 2}, {"passkeys", 1},   {"passkey_words", 2}, {"budget", 3}};
}
const Json kSet = {{"name", "small"},
                   {"lengths", {128, 160}},
                   {"depths", {0.0, 1.0}},
                   {"trials", 6},
                   {"strings", {{"passkeys", "1"}, {"passkey_words", "2"}}}};

TEST(Serve, HelloComesFirstAndAnotherMajorEndsIt) {
  const Scratch scratch("serve");
  Engine engine(scratch.path());
  EXPECT_EQ(code_of(engine.call("run.list")), 1002);
  const Json hello = engine.hello();
  EXPECT_EQ(hello.at("protocol"), (Json{1, 0}));
  EXPECT_EQ(hello.at("max_line_bytes"), 1048576);
  EXPECT_EQ(engine.call("run.list").at("total"), 0);
  EXPECT_EQ(engine.leave(), 0);
  Engine other(scratch.path());
  const Json refused = other.call("hello", {{"protocol", {2, 0}}});
  EXPECT_EQ(code_of(refused), 1001);
  EXPECT_NE(refused["error"]["message"].get<std::string>().find("2.0"), std::string::npos);
  EXPECT_NE(refused["error"]["message"].get<std::string>().find("1.0"), std::string::npos);
  EXPECT_EQ(other.leave(), 2);
}

TEST(Serve, BadInputIsAnsweredAndTheEngineLivesOn) {
  const Scratch scratch("serve");
  Engine engine(scratch.path());
  engine.hello();
  const std::vector<std::string> bad = {
      "",
      "nonsense",
      "{",
      "[]",
      "[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"hello\"}]",
      "\xff\xfe",
      "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"x\"}",
      "{\"jsonrpc\":\"2.0\",\"method\":\"run.list\"}",
      "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"run.list\"}",
      "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"run.list\"}",
      std::string(2 << 20, 'x'),
      std::string(100000, '[')};
  for (const std::string& line : bad) engine.put(line + "\n");
  EXPECT_TRUE(
      engine.until([&] { return engine.nameless_errors == static_cast<int64_t>(bad.size()); }));
  EXPECT_EQ(code_of(engine.call("nonsense")), -32601);
  EXPECT_EQ(code_of(engine.call("run.list", {{"runz", "x"}})), -32602);
  const Json unknown = engine.call("gates.start", {{"stepz", 3}});
  EXPECT_EQ(code_of(unknown), -32602);
  EXPECT_NE(unknown.dump().find("stepz"), std::string::npos);
  EXPECT_EQ(code_of(engine.call("gates.start", {{"steps", 3}})), 1005);
  EXPECT_EQ(code_of(engine.call("job.cancel", {{"job", "j9"}})), 1004);
  EXPECT_EQ(code_of(engine.call("run.open", {{"run", "../../etc"}})), 1004);
  EXPECT_EQ(code_of(engine.call("model.load", {{"model", "/nowhere"}})), 1004);
  EXPECT_EQ(code_of(engine.call("hello", {{"protocol", {1, 0}}})), -32600);
  EXPECT_EQ(engine.call("engine.status").at("worker"), "idle");
  EXPECT_EQ(engine.leave(), 0);
}

TEST(Serve, AFloodOfLinesNeitherStallsNorGrows) {
  const Scratch scratch("serve");
  Engine engine(scratch.path());
  engine.hello();
  engine.call("run.list");
  const int64_t before = engine.resident_bytes();
  std::mt19937 random(5);
  constexpr int kLines = 1000000;
  std::string piece;
  for (int i = 0; i < kLines; ++i) {
    const size_t size = 1 + random() % 30;
    for (size_t j = 0; j < size; ++j) piece += static_cast<char>(' ' + random() % 95);
    piece += '\n';
    if (piece.size() > (1 << 20)) {
      engine.put(piece);
      piece.clear();
    }
  }
  engine.put(piece);
  EXPECT_TRUE(engine.until([&] { return engine.nameless_errors == kLines; }, 60));
  const auto start = Clock::now();
  engine.call("engine.status");
  EXPECT_LT(seconds_since(start), 2.0);
  EXPECT_LT(engine.resident_bytes() - before, int64_t{100} << 20);
  EXPECT_EQ(engine.leave(), 0);
}

TEST(Serve, JobsFromStartToCancelPauseAndSlots) {
  const Scratch scratch("serve");
  Engine engine(scratch.path());
  engine.hello();
  const Json loaded =
      engine.call("model.load", {{"model", kTeacher}, {"device", "cpu"}, {"aligned", kBranches}});
  EXPECT_EQ(loaded.at("layers"), 10) << loaded.dump();
  const Json check = engine.call("preflight", [&] {
    Json p = gates(5, "x");
    p.erase("run");
    p["stage"] = "gates";
    return p;
  }());
  EXPECT_EQ(check.at("starts"), true) << check.dump();

  // A short run finishes and can be read.
  const Json first = engine.call("gates.start", gates(4, "first"));
  ASSERT_TRUE(first.contains("job")) << first.dump();
  EXPECT_NE(first.at("command").get<std::string>().find("flashmorph gates"), std::string::npos);
  engine.wait(first["job"], "finished");
  EXPECT_EQ(open_run(scratch / "first").record.rows(), 4u);
  EXPECT_EQ(code_of(engine.call("gates.start", gates(4, "first"))), 1011);

  // A long run; an evaluation waits and says for whom, pause lets it run.
  const Json longer = engine.call("gates.start", gates(100000, "longer"));
  const std::string training = longer.at("job");
  engine.until([&] {
    return !engine.told.empty() &&
           std::any_of(engine.told.begin(), engine.told.end(), [&](const auto& one) {
             return one.first == "gates.steps" && one.second.at("job") == training;
           });
  });
  EXPECT_EQ(code_of(engine.call("model.unload")), 1003);
  Json set = kSet;
  set["run"] = first["run"];
  ASSERT_EQ(code_of(engine.call("eval_set.save", set)), 0);
  const Json eval = engine.call(
      "eval.start",
      {{"run", first["run"]}, {"plan", "10:1-3"}, {"set", "small"}, {"slot", "budget"}});
  ASSERT_TRUE(eval.contains("job")) << eval.dump();
  EXPECT_EQ(eval.at("cells"), 4);
  EXPECT_EQ(eval.at("plans").size(), 3u);  // teacher and all-linear first
  EXPECT_EQ(eval.at("plans")[0], "10:0-9");
  const std::string waiting = eval.at("job");
  engine.until([&] { return engine.states[waiting] == "queued"; });
  EXPECT_NE(engine.state_params[waiting].value("reason", "").find(training), std::string::npos);
  EXPECT_EQ(engine.call("job.pause", {{"job", training}}).at("pausing"), true);
  engine.wait(training, "paused");
  // A newer plan supersedes it, wherever it is.
  const Json newer = engine.call(
      "eval.start",
      {{"run", first["run"]}, {"plan", "10:2-3"}, {"set", "small"}, {"slot", "budget"}});
  engine.wait(waiting, "superseded");
  engine.wait(newer.at("job"), "finished");
  const Json again =
      engine.call("eval.start", {{"run", first["run"]}, {"plan", "10:2-3"}, {"set", "small"}});
  EXPECT_EQ(again.at("cached"), 4);
  engine.wait(again.at("job"), "finished");
  // The training goes on where it stopped, and a cancel is quick.
  engine.call("job.resume", {{"job", training}});
  engine.wait(training, "running");
  const auto start = Clock::now();
  EXPECT_EQ(engine.call("job.cancel", {{"job", training}}).at("state"), "cancelling");
  EXPECT_LT(seconds_since(start), 0.5);  // 0.1 s on an idle machine
  engine.wait(training, "cancelled");
  EXPECT_LT(seconds_since(start), 4.0);  // 2 s on an idle machine
  EXPECT_TRUE(engine.state_params[training].contains("freed_bytes"));
  EXPECT_EQ(engine.call("job.cancel", {{"job", training}}).at("state"), "cancelled");

  // Files come in pieces and no others.
  const Json file =
      engine.call("file.read", {{"run", "first"}, {"path", "run.fmrun"}, {"bytes", 100}});
  EXPECT_EQ(file.at("bytes"), 100);
  EXPECT_EQ(file.at("data").get<std::string>().size(), 136u);
  EXPECT_EQ(code_of(engine.call("file.read", {{"run", "first"}, {"path", "../longer/run.fmrun"}})),
            1004);
  std::filesystem::create_symlink("/etc/passwd", scratch / "first/link");
  EXPECT_EQ(code_of(engine.call("file.read", {{"run", "first"}, {"path", "link"}})), 1004);
  EXPECT_EQ(
      code_of(engine.call("file.read", {{"run", "first"}, {"path", "run.fmrun"}, {"tag", "old"}})),
      1007);
  // A failing job is failed with its error, and the engine lives on.
  Json broken = gates(4, "broken");
  broken["text"] = "/nowhere";
  const Json failing = engine.call("gates.start", broken);
  engine.wait(failing.at("job"), "failed");
  EXPECT_EQ(engine.state_params[failing["job"]].at("error").at("code"), 1004);
  EXPECT_EQ(code_of(engine.call("model.unload")), 0);
  EXPECT_EQ(engine.leave(), 0);
}

TEST(Serve, ALineThatDropsMidJobLosesNothing) {
  const Scratch scratch("serve");
  std::string run;
  {
    Engine engine(scratch.path());
    engine.hello();
    const Json started = engine.call("gates.start", gates(40, "dropped"));
    engine.until([&] {
      return std::any_of(engine.told.begin(), engine.told.end(),
                         [](const auto& one) { return one.first == "gates.steps"; });
    });
    EXPECT_EQ(engine.leave(), 0);
  }
  const RunRecord left = open_run(scratch / "dropped").record;
  EXPECT_GT(left.rows(), 0u);
  ASSERT_LT(left.rows(), 40u);
  EXPECT_EQ(left.state, "paused");
  Engine engine(scratch.path());
  engine.hello();
  EXPECT_EQ(engine.call("run.open", {{"run", "dropped"}}).at("checkpoint"), true);
  const Json resumed = engine.call("gates.start", {{"run", "dropped"}, {"resume", true}});
  ASSERT_TRUE(resumed.contains("job")) << resumed.dump();
  engine.wait(resumed.at("job"), "finished");
  EXPECT_EQ(open_run(scratch / "dropped").record.rows(), 40u);
  EXPECT_EQ(engine.leave(), 0);
}

TEST(Serve, AKilledEngineIsMergedByOpenAndGoesOn) {
  const Scratch scratch("serve");
  {
    Engine engine(scratch.path());
    engine.hello();
    engine.call("gates.start", gates(100000, "killed"));
    engine.until([&] {
      return std::count_if(engine.told.begin(), engine.told.end(),
                           [](const auto& one) { return one.first == "gates.steps"; }) > 12;
    });
  }  // SIGKILL
  Engine engine(scratch.path());
  engine.hello();
  const Json opened = engine.call("run.open", {{"run", "killed"}});
  EXPECT_GT(opened.at("journal_rows").get<int>(), 0) << opened.dump();
  EXPECT_GT(opened.at("steps").get<int>(), 0);
  EXPECT_EQ(opened.at("state"), "cancelled");  // no checkpoint was due
  EXPECT_EQ(engine.call("run.open", {{"run", "killed"}}).at("journal_rows"), 0);
  EXPECT_EQ(engine.call("run.list").at("runs")[0].at("state"), "cancelled");
  EXPECT_EQ(engine.leave(), 0);
}

TEST(Serve, AClientThatReadsNothingCostsNoMemory) {
  const Scratch scratch("serve");
  Engine engine(scratch.path());
  engine.hello();
  const Json started = engine.call("gates.start", gates(100000, "unread"));
  engine.until([&] {
    return std::any_of(engine.told.begin(), engine.told.end(),
                       [](const auto& one) { return one.first == "gates.steps"; });
  });
  const int64_t before = engine.resident_bytes();
  std::this_thread::sleep_for(
      milliseconds(4000));  // two heartbeats and some hundred rows are not read
  EXPECT_LT(engine.resident_bytes() - before, int64_t{64} << 20);
  const auto start = Clock::now();
  engine.call("job.cancel", {{"job", started.at("job")}});
  EXPECT_LT(seconds_since(start), 1.0);
  engine.wait(started.at("job"), "cancelled");
  EXPECT_EQ(engine.leave(), 0);
}

TEST(Serve, AHybridIsTrainedEvaluatedAndExported) {
  const Scratch scratch("serve");
  Engine engine(scratch.path());
  engine.hello();
  engine.call("model.load", {{"model", kTeacher}, {"device", "cpu"}, {"aligned", kBranches}});
  const Json options = {{"plan", "10:1-3"},      {"distill_steps", 2}, {"distill_batch", 1},
                        {"distill_length", 32},  {"text_tokens", 64},  {"text_length", 32},
                        {"held_out_tokens", 64}, {"lengths", {128}},   {"depths", {0.0}},
                        {"trials", 1},           {"passkeys", 1},      {"passkey_words", 2},
                        {"run", "hybrid"}};
  const Json started = engine.call("distill.start", options);
  ASSERT_TRUE(started.contains("job")) << started.dump();
  engine.wait(started.at("job"), "finished");
  EXPECT_EQ(engine.call("run.open", {{"run", "hybrid"}}).at("plan"), "10:1-3");
  const Json eval = engine.call("eval.start", {{"run", "hybrid"},
                                               {"weights", "distilled"},
                                               {"lengths", {128}},
                                               {"depths", {1.0}},
                                               {"trials", 1},
                                               {"passkeys", 1},
                                               {"passkey_words", 2}});
  ASSERT_TRUE(eval.contains("job")) << eval.dump();
  engine.wait(eval.at("job"), "finished");
  EXPECT_EQ(code_of(engine.call("export.start", {{"run", "hybrid"}, {"target", "transformers"}})),
            1013);
  EXPECT_EQ(code_of(engine.call("export.start", {{"run", "hybrid"}, {"out", "../elsewhere"}})),
            -32602);
  const Json exported = engine.call("export.start", {{"run", "hybrid"}, {"target", "plan"}});
  ASSERT_TRUE(exported.contains("job")) << exported.dump();
  engine.wait(exported.at("job"), "finished");
  EXPECT_TRUE(std::filesystem::exists(exported.at("out").get<std::string>()));
  // The branches of before serve the next start, too.
  const Json gate = engine.call("gates.start", [] {
    Json g = gates(1, "after");
    g.erase("aligned");
    return g;
  }());
  ASSERT_TRUE(gate.contains("job")) << gate.dump();
  engine.wait(gate.at("job"), "finished");
  EXPECT_EQ(engine.leave(), 0);
}

}  // namespace
}  // namespace flashmorph
