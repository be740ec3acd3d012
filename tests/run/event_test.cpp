// SPDX-License-Identifier: Apache-2.0
// Events to JSON and back, and the lines they travel in.
#include "core/run/event.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/run/message.h"

namespace flashmorph {
namespace {

using ::testing::HasSubstr;

std::vector<Event> one_of_each() {
  JobStateEvent failed{"j3",
                       "failed",
                       "align",
                       "r1",
                       "",
                       9126805504,
                       JobError{1008, "align", "needs 96.4 GB", "use a smaller batch"}};
  return {
      AlignStepsEvent{"j1",
                      {1, 2},
                      {0.5, 0.25},
                      {{0.5, 0.5}, {0.25, 0.25}},
                      {1e-3, 1e-3},
                      {0.5, 1.0},
                      {512, 1024},
                      {0.1, 0.2}},
      GateStepsEvent{"j12",
                     {640, 641},
                     {{1, 0.98}, {1, 0.97}},
                     {{1.01, 0.98}, {1.02, 0.97}},
                     {5.1, 5.0},
                     {0.1, 0.1},
                     {0.2, 0.1},
                     {},
                     {},
                     {}},
      TrainStepsEvent{"j2", "distill", {5}, {1.5}, {1e-4}, {2.0}, {4096}, {0.5}, {0.25}, {2.5}},
      EvalCellsEvent{"j57",
                     "needle-2",
                     "28:1,11-14",
                     "aligned",
                     {{0, 1, 4, 2, 0.75, 1.25, {1.0, 0.5}}, {2, 0, 1, 0, 0.0, 7.0, {0.0}}}},
      EvalSummaryEvent{"j57", "needle-2", "28:1", "aligned", 0.75, 1.25, 64, 30, 21.3,
                       std::nullopt},
      failed,
      JobProgressEvent{"j1", "steps", 3, 10, 12.5, 9100},
      HeartbeatEvent{812.0, "j58", 640, 0.12, 4294967296, 33285996544},
      ThinnedEvent{"gates.steps", 4, 700},
      RunCommittedEvent{"r3", 7, 123456, "abc"},
      LogEvent{"warning", "slow", "j1"},
      ModelStateEvent{"loaded", "tiny", 1024},
  };
}

TEST(Event, EveryKindGoesBothWaysThroughALine) {
  const std::vector<Event> events = one_of_each();
  ASSERT_EQ(events.size(), std::variant_size_v<Event>);
  for (size_t i = 0; i < events.size(); ++i) {
    EXPECT_EQ(events[i].index(), i);
    const std::string line = Message::of(events[i], 41).to_line();
    EXPECT_EQ(line.back(), '\n');
    EXPECT_EQ(line.find('\n'), line.size() - 1);
    const Message message = Message::parse(line);
    EXPECT_EQ(message.kind, MessageKind::notification);
    EXPECT_EQ(message.method, method_of(events[i]));
    EXPECT_EQ(message.body["seq"], 41);
    const std::optional<Event> back = event_of(message.method, message.body);
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(back->index(), i);
    EXPECT_EQ(params_of(*back), params_of(events[i])) << line;
  }
}

TEST(Event, TheSpecifiedLineIsRead) {
  const Message message = Message::parse(
      R"({"jsonrpc":"2.0","method":"gates.steps","params":{"seq":812,"job":"j12","step":[640,641],"alpha":[[1,0.98],[1,0.97]],"raw":[[1.01,0.98],[1.02,0.97]],"loss":[5.1,5.0],"penalty":[0.1,0.1]}})");
  const auto event = std::get<GateStepsEvent>(*event_of(message.method, message.body));
  EXPECT_EQ(event.step, (std::vector<int64_t>{640, 641}));
  EXPECT_EQ(event.alpha[1][1], 0.97);
}

TEST(Event, NonFiniteNumbersAreNullAndComeBackAsNaN) {
  Event event =
      GateStepsEvent{"j1", {1}, {{NAN, INFINITY}}, {{1, 1}}, {NAN}, {0.1}, {}, {}, {}, {}};
  const std::string line = Message::of(event, 1).to_line();
  EXPECT_THAT(line, HasSubstr("[null,null]"));
  const Message message = Message::parse(line);
  const auto back = std::get<GateStepsEvent>(*event_of(message.method, message.body));
  EXPECT_TRUE(std::isnan(back.alpha[0][0]));
  EXPECT_TRUE(std::isnan(back.loss[0]));
}

TEST(Event, UnknownFieldsAreIgnoredUnknownMethodsAreNone) {
  EXPECT_TRUE(event_of("engine.thinned",
                       {{"stream", "x"}, {"every", 2}, {"from_step", 1}, {"new", "field"}})
                  .has_value());
  EXPECT_FALSE(event_of("engine.dance", nlohmann::json::object()).has_value());
}

TEST(Event, WrongFieldsAreRefusedByName) {
  const auto refusal = [](const char* method, const char* params) {
    try {
      event_of(method, nlohmann::json::parse(params));
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(refusal("gates.steps", R"({"job":"j1"})"), HasSubstr("step"));
  EXPECT_THAT(refusal("gates.steps",
                      R"({"job":"j1","step":[2,1],"alpha":[],"raw":[],"loss":[],"penalty":[]})"),
              HasSubstr("rising"));
  EXPECT_THAT(
      refusal("gates.steps",
              R"({"job":"j1","step":[1],"alpha":[[1],[1]],"raw":[[1]],"loss":[1],"penalty":[1]})"),
      HasSubstr("alpha"));
  EXPECT_THAT(
      refusal(
          "gates.steps",
          R"({"job":"j1","step":[1,2],"alpha":[[1],[1,2]],"raw":[[1],[1]],"loss":[1,1],"penalty":[1,1]})"),
      HasSubstr("alpha"));
  EXPECT_THAT(
      refusal("gates.steps",
              R"({"job":"j1","step":[1],"alpha":[["x"]],"raw":[[1]],"loss":[1],"penalty":[1]})"),
      HasSubstr("alpha"));
  EXPECT_THAT(refusal("gates.steps", R"({"job":1})"), HasSubstr("job"));
  EXPECT_THAT(
      refusal("eval.cells", R"({"job":"j","set":"s","plan":"2:","weights":"a","cells":[[0,0,1]]})"),
      HasSubstr("cells"));
  EXPECT_THAT(
      refusal("eval.cells",
              R"({"job":"j","set":"s","plan":"2:","weights":"a","cells":[[0,0,1,2,0,0,[]]]})"),
      HasSubstr("hits"));
  EXPECT_THAT(
      refusal("eval.cells",
              R"({"job":"j","set":"s","plan":"2:","weights":"a","cells":[[0,0,-1,0,0,0,[]]]})"),
      HasSubstr("cells"));
  EXPECT_THAT(refusal("job.state", R"([])"), HasSubstr("object"));
}

TEST(Message, RequestsResultsAndErrors) {
  const Message request =
      Message::parse(R"({"jsonrpc":"2.0","id":1,"method":"hello","params":{"protocol":[1,0]}})");
  EXPECT_EQ(request.kind, MessageKind::request);
  EXPECT_EQ(request.id, 1);
  EXPECT_EQ(Message::parse(Message::result(4, {{"job", "j57"}}).to_line()).body["job"], "j57");
  const Error error("distill", ErrorCode::out_of_memory, "needs 96.4 GB",
                    "micro_batch 2 needs 61 GB");
  const Message answer =
      Message::parse(Message::error(50, error, {{"needed_bytes", 96400000000}}).to_line());
  EXPECT_EQ(answer.kind, MessageKind::error);
  EXPECT_EQ(answer.body["code"], 1008);
  EXPECT_EQ(answer.body["data"]["needed_bytes"], 96400000000);
  EXPECT_EQ(answer.to_error().what(), std::string(error.what()));
  EXPECT_EQ(answer.to_error().code(), ErrorCode::out_of_memory);
  EXPECT_FALSE(Message::parse(Message::error(std::nullopt, error).to_line()).id.has_value());
}

TEST(Message, BadLinesAreRefused) {
  const auto code = [](const std::string& line) {
    try {
      Message::parse(line);
    } catch (const Error& e) {
      return e.code();
    }
    return ErrorCode::internal;
  };
  for (const char* line :
       {"", "{", "nonsense", "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"a\"}", "\xff"})
    EXPECT_EQ(code(line), ErrorCode::parse_error) << line;
  for (const char* line :
       {"[]", "1", "{}", R"({"jsonrpc":"1.0","method":"a"})",
        R"({"jsonrpc":"2.0","id":"1","method":"a"})", R"({"jsonrpc":"2.0","id":1.5,"method":"a"})",
        R"({"jsonrpc":"2.0","id":null,"method":"a"})", R"({"jsonrpc":"2.0","method":1})",
        R"({"jsonrpc":"2.0","method":"a","params":[]})",
        R"({"jsonrpc":"2.0","method":"a","extra":1})", R"({"jsonrpc":"2.0","id":1})",
        R"({"jsonrpc":"2.0","id":1,"result":1,"error":{}})", R"({"jsonrpc":"2.0","result":1})",
        R"({"jsonrpc":"2.0","id":1,"error":{"code":"x"}})",
        R"({"jsonrpc":"2.0","method":"a","result":1})", R"({"jsonrpc":"2.0","params":{}})",
        R"({"jsonrpc":"2.0","id":18446744073709551615,"method":"a"})"})
    EXPECT_EQ(code(line), ErrorCode::invalid_request) << line;
  EXPECT_EQ(code(std::string(kMaxLineBytes + 2, ' ')), ErrorCode::parse_error);
  std::string deep = R"({"jsonrpc":"2.0","method":"a","params":{"x":)";
  EXPECT_EQ(code(deep + std::string(100, '[') + std::string(100, ']') + "}}"),
            ErrorCode::parse_error);
}

TEST(Message, TooLongALineIsNotWritten) {
  EXPECT_THROW(Message::notification("x", {{"text", std::string(kMaxLineBytes, 'x')}}).to_line(),
               Error);
  EXPECT_THAT(Message::notification("x", {{"text", "\xff\xfe"}}).to_line(),
              HasSubstr("\xEF\xBF\xBD"));
}

}  // namespace
}  // namespace flashmorph
