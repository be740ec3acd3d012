// SPDX-License-Identifier: Apache-2.0
#include "core/cli/stage_flags.h"

#include <fstream>
#include <iterator>
#include <map>
#include <vector>

#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/run/error.h"

namespace flashmorph {

struct StageFlags::State {
  std::string command, file;
  std::map<std::string, std::vector<std::string>> words;  // by option name
  std::map<std::string, CLI::Option*> given;
};

namespace {

constexpr size_t kMaxConfigBytes = size_t{4} << 20;

std::string value_hint(const RunOption& option) {
  if (!option.choices.empty()) {
    std::string text = fmt::format("{}", fmt::join(option.choices, "|"));
    return option.low <= option.high ? "N|" + text : text;
  }
  if (std::holds_alternative<bool RunConfig::*>(option.field)) return "";
  if (std::holds_alternative<std::vector<std::string> RunConfig::*>(option.field)) return "WORD ...";
  if (std::holds_alternative<std::vector<int64_t> RunConfig::*>(option.field) ||
      std::holds_alternative<std::vector<double> RunConfig::*>(option.field))
    return "N,N,...";
  return option.low <= option.high ? (option.unit.empty() || option.unit == "1" ? "N" : option.unit) : "TEXT";
}

std::string default_text(const RunOption& option, const nlohmann::json& defaults) {
  if (!defaults.contains(option.name)) return {};
  const auto& value = defaults[option.name];
  if (value.is_boolean() || (value.is_string() && value.get<std::string>().empty()) || (value.is_array() && value.empty())) return {};
  return " [" + (value.is_string() ? value.get<std::string>() : value.dump()) + "]";
}

std::string group_of(const RunOption& option) {
  if (option.commands.size() >= 5 && option.takes("align") && option.takes("eval")) return "Common";
  if (option.takes("distill") != option.takes("finetune") && !option.takes("gates") && !option.takes("eval"))
    return option.takes("distill") ? "Distill" : "Finetune";
  if (option.takes("distill") && !option.takes("align") && !option.takes("gates") && !option.takes("eval")) return "Training";
  if (option.takes("align") && !option.takes("gates")) return "Align";
  if (option.takes("gates") && !option.takes("eval")) return option.takes("select") ? "Samples and budget" : "Gates";
  if (option.takes("eval")) return "Recall and text";
  return "Selection";
}

}  // namespace

StageFlags::StageFlags(CLI::App& app, const std::string& command) : state_(std::make_shared<State>()) {
  state_->command = command;
  app.add_option("--config", state_->file, "JSON file with the same keys as the flags (snake_case); flags win")
      ->type_name("FILE")
      ->group("Common");
  const nlohmann::json defaults = to_json(default_config(command));
  for (const RunOption& option : run_options()) {
    if (!option.takes(command)) continue;
    std::string help = option.help + default_text(option, defaults);
    if (!help.empty()) help[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(help[0])));
    CLI::Option* flag = app.add_option(option.flag(), state_->words[option.name], help);
    flag->type_name(value_hint(option))->group(group_of(option));
    if (std::holds_alternative<bool RunConfig::*>(option.field))
      flag->expected(0, 1);
    else if (std::holds_alternative<std::vector<std::string> RunConfig::*>(option.field))
      flag->expected(1, 4096);
    else
      flag->expected(1)->allow_extra_args(std::holds_alternative<std::vector<int64_t> RunConfig::*>(option.field) ||
                                          std::holds_alternative<std::vector<double> RunConfig::*>(option.field));
    state_->given[option.name] = flag;
  }
}

RunConfig StageFlags::config() const {
  nlohmann::json json = nlohmann::json::object();
  std::string where = "flags";
  if (!state_->file.empty()) {
    std::ifstream file(state_->file, std::ios::binary);
    if (!file)
      throw Error("run", ErrorCode::not_found, fmt::format("config file {} cannot be read", state_->file), "check the path");
    std::string text(kMaxConfigBytes + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(file.gcount()));
    if (text.size() > kMaxConfigBytes)
      throw Error("run", ErrorCode::bad_request, fmt::format("config file {} is larger than 4 MiB", state_->file));
    where = state_->file;
    parse_run_config(text, where, state_->command);  // says what is wrong in the file before flags are mixed in
    json = nlohmann::json::parse(text);
  }
  for (const auto& [name, flag] : state_->given)
    if (flag->count() > 0) {
      std::vector<std::string> words;
      for (const std::string& word : flag->results())
        if (!word.empty() && word != "{}") words.push_back(word);
      json[name] = value_of_flag(*find_option(name), words);
    }
  return run_config_of(json, where, state_->command);
}

}  // namespace flashmorph
