// SPDX-License-Identifier: Apache-2.0
#include "core/run/run_config.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <type_traits>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/run/error.h"
#include "core/run/strict_json.h"

namespace flashmorph {

namespace {

using Json = nlohmann::json;
constexpr size_t kMaxText = 4096;
constexpr size_t kMaxList = 4096;

[[noreturn]] void refuse(const std::string& where, const std::string& what,
                         const std::string& hint = {}) {
  throw Error("run", ErrorCode::bad_request, fmt::format("{}: {}", where, what), hint);
}

bool is_number(const RunOption& option) { return option.low <= option.high; }
bool is_one_of(const std::vector<std::string>& list, const std::string& word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}
std::string range_text(const RunOption& option) {
  return fmt::format("from {} to {}", option.low, option.high);
}
std::string with_unit(const RunOption& option) {
  return option.unit.empty() || option.unit == "1" ? std::string()
                                                   : fmt::format(" ({})", option.unit);
}

template <typename T>
std::optional<T> parse_number(const std::string& text) {
  T value{};
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_device(const std::string& text) {
  return text == "auto" || text == "cpu" || text == "cuda" ||
         (text.rfind("cuda:", 0) == 0 && text.size() <= 8 &&
          parse_number<unsigned>(text.substr(5)).has_value());
}

// Reads one JSON value into a field; `field` of every sentence is the option's name.
class Reader {
 public:
  Reader(const RunOption& option, const std::string& where) : option_(option), where_(where) {}

  bool read(const Json& json, bool*) const {
    if (!json.is_boolean()) wrong("true or false", json);
    return json.get<bool>();
  }
  int64_t read(const Json& json, int64_t*) const {
    const bool fits = json.is_number_integer() &&
                      !(json.is_number_unsigned() && json.get<uint64_t>() > uint64_t{INT64_MAX});
    // 2000.0 and 1e3 are whole numbers too.
    const bool whole = json.is_number_float() && std::abs(json.get<double>()) < 1e15 &&
                       json.get<double>() == std::floor(json.get<double>());
    if (!fits && !whole) wrong("an integer " + range_text(option_) + with_unit(option_), json);
    const int64_t value = fits ? json.get<int64_t>() : static_cast<int64_t>(json.get<double>());
    if (!(static_cast<double>(value) >= option_.low && static_cast<double>(value) <= option_.high))
      wrong("an integer " + range_text(option_) + with_unit(option_), json);
    return value;
  }
  double read(const Json& json, double*) const {
    if (!json.is_number() ||
        !(json.get<double>() >= option_.low && json.get<double>() <= option_.high))
      wrong("a number " + range_text(option_) + with_unit(option_), json);
    return json.get<double>();
  }
  std::string read(const Json& json, std::string*) const {
    if (is_number(option_)) return word_or_number(json);
    if (!json.is_string())
      wrong(option_.choices.empty() ? "a string" : "one of " + choices(), json);
    const auto& text = json.get_ref<const std::string&>();
    if (text.size() > kMaxText)
      refuse_field(fmt::format("expected at most {} bytes of text", kMaxText));
    if (text.find('\0') != std::string::npos) refuse_field("a zero byte cannot be part of it");
    const bool known =
        option_.name == "device" ? is_device(text) : is_one_of(option_.choices, text);
    if (!option_.choices.empty() && !known) {
      const std::string near = nearest_word(text, option_.choices);
      refuse(where_,
             fmt::format("{}: expected one of {}, got {}", option_.name, choices(), quote(text)),
             near.empty() ? std::string() : fmt::format("did you mean \"{}\"?", near));
    }
    return text;
  }
  template <typename T>
  std::vector<T> read(const Json& json, std::vector<T>*) const {
    if (!json.is_array()) wrong("a list", json);
    if (json.size() > kMaxList)
      refuse_field(fmt::format("expected at most {} entries, got {}", kMaxList, json.size()));
    std::vector<T> list;
    for (const Json& item : json) list.push_back(read(item, static_cast<T*>(nullptr)));
    return list;
  }

 private:
  // Stored as text in its shortest form, so that 0.10 and 0.1 are the same choice.
  std::string word_or_number(const Json& json) const {
    const std::string expected = fmt::format(
        "{} or {} {}", choices(), option_.integer ? "an integer" : "a number", range_text(option_));
    Json number = json;
    if (json.is_string()) {
      const auto& text = json.get_ref<const std::string&>();
      if (is_one_of(option_.choices, text)) return text;
      const auto value = parse_number<double>(text);
      if (!value) wrong(expected, json);
      number = *value;
    }
    if (!number.is_number()) wrong(expected, json);
    const double value = number.get<double>();
    if (!(value >= option_.low && value <= option_.high) ||
        (option_.integer && value != std::floor(value)))
      wrong(expected, json);
    return fmt::format("{}", value);
  }
  std::string choices() const { return fmt::format("{}", fmt::join(option_.choices, ", ")); }
  [[noreturn]] void wrong(const std::string& expected, const Json& json) const {
    refuse_field(fmt::format("expected {}, got {}", expected, type_word(json)));
  }
  [[noreturn]] void refuse_field(const std::string& what) const {
    refuse(where_, fmt::format("{}: {}", option_.name, what));
  }

  const RunOption& option_;
  const std::string& where_;
};

void set(RunConfig& config, const RunOption& option, const Json& json, const std::string& where) {
  std::visit(
      [&](auto member) {
        using Value = std::decay_t<decltype(config.*member)>;
        config.*member = Reader(option, where).read(json, static_cast<Value*>(nullptr));
      },
      option.field);
}

Json value_of(const RunConfig& config, const RunOption& option) {
  return std::visit(
      [&](auto member) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(config.*member)>, std::string>) {
          if (is_number(option))
            if (const auto number = parse_number<double>(config.*member)) {
              if (*number == std::floor(*number) && std::abs(*number) < 1e15)
                return static_cast<int64_t>(*number);
              return *number;
            }
        }
        return config.*member;
      },
      option.field);
}

bool is_command(const std::string& name) {
  return std::any_of(run_commands().begin(), run_commands().end(),
                     [&](const auto& one) { return one.first == name; });
}

// What no single field shows.
void check_together(const RunConfig& config, const std::string& where) {
  if (config.length_min > config.length_max)
    refuse(where, fmt::format("length_min: expected at most length_max {}, got {}",
                              config.length_max, config.length_min));
  const auto rises = [](const auto& list) {
    return std::adjacent_find(list.begin(), list.end(), std::greater_equal<>()) == list.end();
  };
  if (config.lengths.empty() || !rises(config.lengths))
    refuse(where, "lengths: expected at least one length, in rising order");
  if (config.depths.empty() || !rises(config.depths))
    refuse(where, "depths: expected at least one depth, in rising order");
  for (const int64_t layer : config.lock_full)
    if (std::find(config.lock_linear.begin(), config.lock_linear.end(), layer) !=
        config.lock_linear.end())
      refuse(where, fmt::format("lock_full: layer {} is also in lock_linear", layer));
}

std::string shell_word(const std::string& text) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./:,=+@%").find(c) != std::string_view::npos;
  };
  if (!text.empty() && std::all_of(text.begin(), text.end(), plain)) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string flag_words(const RunConfig& config, const RunOption& option) {
  const std::string flag = " " + option.flag();
  return std::visit(
      [&](auto member) -> std::string {
        using Value = std::decay_t<decltype(config.*member)>;
        const Value& value = config.*member;
        if constexpr (std::is_same_v<Value, bool>) {
          return value ? flag : flag + "=false";
        } else if constexpr (std::is_same_v<Value, std::string>) {
          return fmt::format("{}{}{}", flag, !value.empty() && value.front() == '-' ? "=" : " ",
                             shell_word(value));
        } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
          std::string text;
          for (const std::string& word : value)
            text += fmt::format("{} {}", flag, shell_word(word));
          return text;
        } else if constexpr (std::is_arithmetic_v<Value>) {
          return fmt::format("{} {}", flag, value);
        } else {
          return fmt::format("{} {}", flag, fmt::join(value, ","));
        }
      },
      option.field);
}

}  // namespace

RunConfig default_config(const std::string& command, const std::string& preset) {
  RunConfig config;
  config.command = command;
  config.preset = preset;
  if (preset == "recommended") {
    config.supervision = "answer";
    config.penalty = "budget";
    // Many short prompts of few short passkeys, which a small teacher can answer itself: on SmolLM2-135M
    // these chose better layers than the paper's long ones at a fourteenth of the cost (tests/bench/study_smollm2.md).
    // Commands that measure rather than choose keep asking as the shortest length allows.
    if (!command.empty() && command != "gates" && command != "select" && command != "run") return config;
    config.steps = 600;
    config.length_min = 512, config.length_max = 2048, config.length_count = 7;
    config.passkeys = 3, config.passkey_words = 6;
  }
  return config;
}

RunConfig run_config_of(const Json& json, const std::string& where, const std::string& command) {
  if (!json.is_object()) refuse(where, "expected an object of options, got " + type_word(json));
  std::string wanted = command;
  if (json.contains("command")) {
    if (!json["command"].is_string())
      refuse(where, "command: expected a string, got " + type_word(json["command"]));
    wanted = json["command"].get<std::string>();
    if (!command.empty() && wanted != command)
      refuse(where, fmt::format("command: this is for {}, got {}", command, quote(wanted)));
  }
  if (!wanted.empty() && !is_command(wanted)) {
    std::vector<std::string> names;
    for (const auto& [name, help] : run_commands()) names.push_back(name);
    refuse(where, fmt::format("command: expected one of {}, got {}", fmt::join(names, ", "),
                              quote(wanted)));
  }
  std::string preset = "recommended";
  if (json.contains("preset")) {
    RunConfig chosen;
    set(chosen, *find_option("preset"), json["preset"], where);
    preset = chosen.preset;
  }
  RunConfig config = default_config(wanted, preset);
  for (const auto& [key, value] : json.items()) {
    if (key == "command") continue;
    const RunOption* option = find_option(key);
    if (option == nullptr) {
      std::vector<std::string> names;
      for (const RunOption& one : run_options())
        if (wanted.empty() || one.takes(wanted)) names.push_back(one.name);
      const std::string near = nearest_word(key, names);
      refuse(where, fmt::format("unknown option {}", quote(key)),
             near.empty() ? std::string() : fmt::format("did you mean \"{}\"?", near));
    }
    if (!wanted.empty() && !option->takes(wanted))
      refuse(where, fmt::format("{}: {} does not take it", key, wanted),
             fmt::format("it belongs to {}", fmt::join(option->commands, ", ")));
    set(config, *option, value, where);
  }
  check_together(config, where);
  return config;
}

RunConfig parse_run_config(const std::string& json_text, const std::string& where,
                           const std::string& command) {
  return run_config_of(read_strict_json(json_text, where, "run", ErrorCode::bad_request), where,
                       command);
}

Json to_json(const RunConfig& config) {
  Json json = Json::object();
  if (!config.command.empty()) json["command"] = config.command;
  for (const RunOption& option : run_options())
    if (config.command.empty() || option.takes(config.command))
      json[option.name] = value_of(config, option);
  return json;
}

Json changed_json(const RunConfig& config) {
  const RunConfig defaults = default_config(config.command, config.preset);
  Json json = Json::object();
  if (!config.command.empty()) json["command"] = config.command;
  for (const RunOption& option : run_options()) {
    if (!config.command.empty() && !option.takes(config.command)) continue;
    const bool other_preset = option.name == "preset" && config.preset != RunConfig().preset;
    if (other_preset || value_of(config, option) != value_of(defaults, option))
      json[option.name] = value_of(config, option);
  }
  return json;
}

Json value_of_flag(const RunOption& option, const std::vector<std::string>& words) {
  const std::string where = option.flag();
  const auto one = [&]() -> const std::string& {
    if (words.size() != 1) refuse(where, fmt::format("expected one value, got {}", words.size()));
    return words.front();
  };
  const auto integer = [&](const std::string& text) -> Json {
    if (const auto value = parse_number<int64_t>(text)) return *value;
    if (const auto value = parse_number<double>(text))
      return *value;  // 2e3; the range check says what is wrong otherwise
    refuse(where, "expected an integer, got " + quote(text));
  };
  const auto real = [&](const std::string& text) -> Json {
    const auto value = parse_number<double>(text);
    if (!value || !std::isfinite(*value)) refuse(where, "expected a number, got " + quote(text));
    return *value;
  };
  const auto list = [&](const auto& convert) {
    Json values = Json::array();
    for (const std::string& word : words)
      for (size_t at = 0; at <= word.size();) {
        const size_t comma = std::min(word.find(',', at), word.size());
        values.push_back(convert(word.substr(at, comma - at)));
        at = comma + 1;
      }
    return values;
  };
  return std::visit(
      [&](auto member) -> Json {
        using Value = std::decay_t<decltype(std::declval<RunConfig>().*member)>;
        if constexpr (std::is_same_v<Value, bool>) {
          if (words.empty() || (words.size() == 1 && words.front() == "true")) return true;
          if (one() == "false") return false;
          refuse(where, "expected no value, true or false, got " + quote(words.front()));
        } else if constexpr (std::is_same_v<Value, int64_t>) {
          return integer(one());
        } else if constexpr (std::is_same_v<Value, double>) {
          return real(one());
        } else if constexpr (std::is_same_v<Value, std::string>) {
          return one();
        } else if constexpr (std::is_same_v<Value, std::vector<int64_t>>) {
          return list(integer);
        } else if constexpr (std::is_same_v<Value, std::vector<double>>) {
          return list(real);
        } else {
          return words;
        }
      },
      option.field);
}

std::string command_line(const RunConfig& config) {
  std::string line = "flashmorph";
  if (!config.command.empty()) line += " " + config.command;
  const Json changed = changed_json(config);
  for (const RunOption& option : run_options()) {
    if (!config.command.empty() && !option.takes(config.command)) continue;
    // A line that somebody quotes says how long and with which seed, even if both are the defaults.
    const bool always =
        option.name == "steps" || option.name == "align_steps" || option.name == "distill_steps" ||
        option.name == "finetune_steps" ||
        (option.name == "seed" &&
         (config.command == "align" || config.command == "gates" || config.command == "run" ||
          config.command == "distill" || config.command == "finetune"));
    if ((always && !config.command.empty()) || changed.contains(option.name))
      line += flag_words(config, option);
  }
  return line;
}

}  // namespace flashmorph
