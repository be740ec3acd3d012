// SPDX-License-Identifier: Apache-2.0
// The one description of options: parsing, writing, presets, command line, and that the table is
// sound.
#include "core/run/run_config.h"

#include <set>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/run/error.h"

namespace flashmorph {
namespace {

using ::testing::HasSubstr;

std::string refusal(const std::string& text, const std::string& command = {}) {
  try {
    parse_run_config(text, "conf.json", command);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_request);
    EXPECT_THAT(e.what(), HasSubstr("conf.json"));
    return e.what();
  }
  ADD_FAILURE() << "accepted: " << text;
  return {};
}

TEST(RunConfig, PaperIsTheDefaultsOfTheMethod) {
  const RunConfig paper = parse_run_config(R"({"preset": "paper"})", "test", "gates");
  EXPECT_EQ(paper.constraint, "clamp");
  EXPECT_EQ(paper.steps, 2000);
  EXPECT_EQ(paper.lr, 2e-2);
  EXPECT_EQ(paper.lr_shape, "trapezoid");
  EXPECT_EQ(paper.full_source, "recomputed");
  EXPECT_EQ(paper.branch_source, "mixed");
  EXPECT_EQ(paper.target, "residual");
  EXPECT_EQ(paper.norm, "sum");
  EXPECT_EQ(paper.tokens, "answer");
  EXPECT_EQ(paper.penalty, "0.1");
  EXPECT_EQ(paper.supervision, "passkey");
}

TEST(RunConfig, RecommendedIsTheDefaultAndDiffersInSupervisionPenaltyAndSamples) {
  const RunConfig config = parse_run_config("{}", "test", "gates");
  EXPECT_EQ(config.preset, "recommended");
  EXPECT_EQ(config.supervision, "answer");
  EXPECT_EQ(config.penalty, "budget");
  RunConfig same = config;
  same.supervision = "passkey", same.penalty = "0.1", same.preset = "paper";
  same.steps = 2000, same.length_min = 1000, same.length_max = 16000, same.length_count = 50;
  same.passkeys = 10, same.passkey_words = 32;
  EXPECT_EQ(same, default_config("gates", "paper"));
}

TEST(RunConfig, AChoiceBesideAPresetWins) {
  const RunConfig config = parse_run_config(R"({"penalty": 0.3, "preset": "recommended"})", "test");
  EXPECT_EQ(config.penalty, "0.3");
  EXPECT_EQ(config.supervision, "answer");
}

TEST(RunConfig, UnknownKeysAreRefusedWithTheNearest) {
  EXPECT_THAT(refusal(R"({"penaltie": 0.1})"), HasSubstr("penalty"));
  EXPECT_THAT(refusal(R"({"aling_steps": 5})"), HasSubstr("align_steps"));
  EXPECT_THAT(refusal(R"({"zzzzzzzzzzzz": 5})"), Not(HasSubstr("did you mean")));
  EXPECT_THAT(refusal(R"({"lengths": [512]})", "gates"), HasSubstr("gates does not take it"));
  EXPECT_THAT(refusal(R"({"command": "eval"})", "gates"), HasSubstr("command"));
  EXPECT_THAT(refusal(R"({"command": "dance"})"), HasSubstr("dance"));
}

TEST(RunConfig, WrongTypesAndRangesNameTheField) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"steps": "many"})", "steps"},
      {R"({"steps": 0})", "steps"},
      {R"({"steps": 2.5})", "steps"},
      {R"({"steps": 1e300})", "steps"},
      {R"({"steps": 18446744073709551615})", "steps"},
      {R"({"steps": null})", "steps"},
      {R"({"lr": -1})", "lr"},
      {R"({"lr": "fast"})", "lr"},
      {R"({"penalty": "huge"})", "penalty"},
      {R"({"penalty": -1})", "penalty"},
      {R"({"penalty": "nan"})", "penalty"},
      {R"({"penalty": "inf"})", "penalty"},
      {R"({"penalty": [1]})", "penalty"},
      {R"({"target": "residaul"})", "residual"},
      {R"({"resume": 1})", "resume"},
      {R"({"model": 3})", "model"},
      {R"({"device": "gpu"})", "device"},
      {R"({"device": "cuda:x"})", "device"},
      {R"({"branch_conv": 2.5})", "branch_conv"},
      {R"({"branches": ["gdn", "mamba9"]})", "branches"},
      {R"({"lengths": []})", "lengths"},
      {R"({"lengths": [1024, 512]})", "lengths"},
      {R"({"lengths": 512})", "lengths"},
      {R"({"depths": [0, 1.5]})", "depths"},
      {R"({"lock_full": [3], "lock_linear": [3]})", "lock_full"},
      {R"({"length_min": 5000, "length_max": 100})", "length_min"},
      {R"({"preset": "best"})", "preset"},
      {R"({"preset": 1})", "preset"},
      {R"({"seed": -1})", "seed"},
      {R"({"command": 4})", "command"},
      {R"([1])", "object"},
      {R"({"steps": 1, "steps": 2})", "twice"},
      {R"({"steps": 1)", "JSON"},
      {R"({"lr": 1e999})", "JSON"},
      {"{\"model\": \"\\u0000\"}", "model"},
      {"", "JSON"},
  };
  for (const auto& [text, word] : cases) EXPECT_THAT(refusal(text), HasSubstr(word)) << text;
  EXPECT_THAT(refusal(std::string(100000, '[')), HasSubstr("nested"));
  EXPECT_THAT(refusal(std::string((4 << 20) + 1, ' ')), HasSubstr("bytes of JSON"));
}

TEST(RunConfig, WholeNumbersMayBeWrittenAsFloats) {
  EXPECT_EQ(parse_run_config(R"({"steps": 2e3})", "test").steps, 2000);
  EXPECT_EQ(parse_run_config(R"({"penalty": "0.10"})", "test").penalty, "0.1");
  EXPECT_EQ(parse_run_config(R"({"device": "cuda:1"})", "test").device, "cuda:1");
}

TEST(RunConfig, JsonGoesBothWaysForEveryCommand) {
  for (const auto& [command, help] : run_commands()) {
    RunConfig config = default_config(command);
    const nlohmann::json json = to_json(config);
    EXPECT_EQ(run_config_of(json, "test", command), config) << command;
    EXPECT_EQ(changed_json(config), nlohmann::json({{"command", command}}));
    for (const RunOption& option : run_options())
      EXPECT_EQ(json.contains(option.name), option.takes(command)) << option.name;
  }
  EXPECT_EQ(run_config_of(to_json(default_config()), "test"), default_config());
}

TEST(RunConfig, CommandLineShowsWhatDiffers) {
  RunConfig config = default_config("gates");
  config.model = "DIR";
  config.penalty = "0.1";
  EXPECT_EQ(command_line(config),
            "flashmorph gates --model DIR --penalty 0.1 --steps 600 --seed 1");
  config = default_config("gates", "paper");
  config.model = "it's here/$HOME";
  EXPECT_EQ(
      command_line(config),
      R"(flashmorph gates --model 'it'\''s here/$HOME' --preset paper --steps 2000 --seed 1)");
}

// A value other than the default for every option.
nlohmann::json other_value(const RunOption& option) {
  const bool has_number = option.low <= option.high;
  const nlohmann::json now = to_json(default_config())[option.name];
  if (now.is_boolean()) return !now.get<bool>();
  if (option.name == "device") return "cuda:1";
  if (option.name == "lengths") return {64, 128};
  if (option.name == "depths") return {0.125, 1.0 / 3};
  if (option.name == "length_min") return 999;
  if (option.name == "lock_full") return {1, 2};
  if (option.name == "lock_linear") return {3};
  if (now.is_array())
    return option.choices.empty() ? nlohmann::json{"28:1,3-4", "it's"}
                                  : nlohmann::json(option.choices);
  if (!option.choices.empty() && has_number)
    return option.integer ? nlohmann::json(4) : nlohmann::json(0.1 + 0.2);
  if (!option.choices.empty())
    return option.choices.front() == now ? option.choices.back() : option.choices.front();
  if (now.is_string()) return "-a b'c\\\"d";
  if (now.is_number_float()) return 1.0 / 3;
  return now.get<int64_t>() == static_cast<int64_t>(option.high) ? now.get<int64_t>() - 1
                                                                 : now.get<int64_t>() + 1;
}

// What a POSIX shell makes of the line; enough for the quoting that command_line uses.
std::vector<std::string> shell_words(const std::string& line) {
  std::vector<std::string> words;
  std::string word;
  bool in_word = false, in_quotes = false;
  for (size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '\'')
      in_quotes = !in_quotes, in_word = true;
    else if (!in_quotes && c == '\\')
      word += line[++i];
    else if (!in_quotes && c == ' ') {
      if (in_word) words.push_back(word);
      word.clear(), in_word = false;
    } else
      word += c, in_word = true;
  }
  if (in_word) words.push_back(word);
  return words;
}

RunConfig config_of_line(const std::string& line) {
  const std::vector<std::string> words = shell_words(line);
  std::map<std::string, std::vector<std::string>> given;
  for (size_t i = 2; i < words.size(); ++i) {
    std::string flag = words[i];
    const size_t equals = flag.find('=');
    std::string name = flag.substr(2, equals == std::string::npos ? std::string::npos : equals - 2);
    std::replace(name.begin(), name.end(), '-', '_');
    std::vector<std::string>& values = given[name];
    if (equals != std::string::npos)
      values.push_back(flag.substr(equals + 1));
    else if (i + 1 < words.size() && words[i + 1].rfind("--", 0) != 0)
      values.push_back(words[++i]);
  }
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [name, values] : given) json[name] = value_of_flag(*find_option(name), values);
  return run_config_of(json, "line", words[1]);
}

TEST(RunConfig, EveryOptionSurvivesJsonAndCommandLine) {
  for (const RunOption& option : run_options())
    for (const std::string& command : option.commands) {
      const RunConfig config = run_config_of({{option.name, other_value(option)}}, "test", command);
      SCOPED_TRACE(option.name + " of " + command + ": " + command_line(config));
      EXPECT_EQ(changed_json(config).count(option.name), 1U);
      EXPECT_EQ(run_config_of(to_json(config), "test"), config);
      EXPECT_EQ(run_config_of(changed_json(config), "test"), config);
      EXPECT_EQ(config_of_line(command_line(config)), config);
    }
}

TEST(RunConfig, FlagsAreCheckedLikeJson) {
  EXPECT_EQ(value_of_flag(*find_option("lengths"), {"512,1024", "2048"}),
            nlohmann::json({512, 1024, 2048}));
  EXPECT_EQ(value_of_flag(*find_option("resume"), {}), true);
  EXPECT_EQ(value_of_flag(*find_option("resume"), {"false"}), false);
  EXPECT_THROW(value_of_flag(*find_option("resume"), {"maybe"}), Error);
  EXPECT_THROW(value_of_flag(*find_option("steps"), {"5x"}), Error);
  EXPECT_THROW(value_of_flag(*find_option("steps"), {}), Error);
  EXPECT_THROW(value_of_flag(*find_option("lr"), {"nan"}), Error);
  EXPECT_THROW(value_of_flag(*find_option("lengths"), {"512,,1024"}), Error);
}

TEST(RunOptions, TableIsSound) {
  std::set<std::string> names;
  const nlohmann::json defaults = to_json(default_config());
  for (const RunOption& option : run_options()) {
    SCOPED_TRACE(option.name);
    EXPECT_TRUE(names.insert(option.name).second);
    EXPECT_THAT(option.name, testing::MatchesRegex("[a-z][a-z0-9_]*"));
    EXPECT_FALSE(option.help.empty());
    EXPECT_FALSE(option.commands.empty());
    for (const std::string& command : option.commands)
      EXPECT_TRUE(std::any_of(run_commands().begin(), run_commands().end(),
                              [&](const auto& c) { return c.first == command; }));
    const bool is_number = defaults[option.name].is_number();
    EXPECT_EQ(is_number, is_number && option.low <= option.high && !option.unit.empty());
    EXPECT_NO_THROW(run_config_of({{option.name, defaults[option.name]}}, "defaults"));
  }
  EXPECT_EQ(find_option("lr_final")->flag(), "--lr-final");
  EXPECT_EQ(find_option("nothing"), nullptr);
}

}  // namespace
}  // namespace flashmorph
