// SPDX-License-Identifier: Apache-2.0
#include "core/run/strict_json.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/run/json_scan.h"

namespace flashmorph {

namespace {

using Json = nlohmann::json;

size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t kept = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({kept, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

Json read_strict_json(std::string_view text, const std::string& where, const std::string& stage,
                      ErrorCode code, const StrictLimits& limits) {
  const auto refuse = [&](const std::string& what) {
    throw Error(stage, code, fmt::format("{}: {}", where, what));
  };
  if (text.size() > limits.bytes)
    refuse(fmt::format("{} bytes of JSON, at most {} are read", text.size(), limits.bytes));
  if (first_too_deep(text, limits.depth) != std::string_view::npos)
    refuse(fmt::format("JSON nested deeper than {} levels", limits.depth));
  DoubledKeys keys;
  std::string doubled;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (keys.is_doubled(event, value) && doubled.empty())
      doubled = quote(value.get_ref<const std::string&>());
    return true;
  };
  Json json;
  try {
    json = Json::parse(text, watch);
  } catch (const Json::parse_error& e) {
    refuse(fmt::format("not valid JSON at byte {}", e.byte));
  } catch (const Json::exception&) {
    refuse("not valid JSON: a number is out of range");
  }
  if (!doubled.empty()) refuse(fmt::format("key {} appears twice", doubled));
  return json;
}

std::string quote(std::string_view text, size_t most) {
  std::string shown = "\"";
  for (const char c : text.substr(0, most)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7f || c == '"' || c == '\\')
      shown += fmt::format("\\x{:02x}", byte);
    else
      shown += c;
  }
  return shown + (text.size() > most ? "...\"" : "\"");
}

std::string type_word(const Json& json) {
  switch (json.type()) {
    case Json::value_t::null:
      return "null";
    case Json::value_t::boolean:
      return json.get<bool>() ? "true" : "false";
    case Json::value_t::string:
      return quote(json.get_ref<const std::string&>());
    case Json::value_t::array:
      return fmt::format("an array of {}", json.size());
    case Json::value_t::object:
      return "an object";
    case Json::value_t::number_float:
      return fmt::format("{}", json.get<double>());
    case Json::value_t::number_unsigned:
      return fmt::format("{}", json.get<uint64_t>());
    case Json::value_t::number_integer:
      return fmt::format("{}", json.get<int64_t>());
    default:
      return "something else";
  }
}

std::string nearest_word(const std::string& word, const std::vector<std::string>& known) {
  std::string best;
  if (word.size() > 64) return best;
  size_t least = std::max<size_t>(word.size() / 3, 2) + 1;
  for (const std::string& candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    if (distance < least) least = distance, best = candidate;
  }
  return best;
}

StrictFields::StrictFields(const Json& json, std::string where, std::string stage, ErrorCode code)
    : json_(json), where_(std::move(where)), stage_(std::move(stage)), code_(code) {
  if (!json.is_object())
    throw Error(stage_, code_,
                fmt::format("{}: expected an object, got {}", where_, type_word(json)));
}

void StrictFields::refuse(const std::string& key, const std::string& what) const {
  throw Error(stage_, code_, fmt::format("{}: {}: {}", where_, key, what));
}

const Json* StrictFields::find(const char* key) {
  seen_.emplace_back(key);
  const auto it = json_.find(key);
  return it == json_.end() || it->is_null() ? nullptr : &*it;
}

bool StrictFields::has(const char* key) const {
  const auto it = json_.find(key);
  return it != json_.end() && !it->is_null();
}

const Json& StrictFields::required(const char* key) {
  const Json* value = find(key);
  if (value == nullptr) refuse(key, "is missing");
  return *value;
}

std::string StrictFields::text(const char* key, size_t most) {
  const Json& value = required(key);
  if (!value.is_string()) refuse(key, "expected a string, got " + type_word(value));
  if (value.get_ref<const std::string&>().size() > most)
    refuse(key, fmt::format("expected at most {} bytes of text", most));
  return value.get<std::string>();
}

std::string StrictFields::text_or(const char* key, const std::string& missing, size_t most) {
  if (find(key) == nullptr) return missing;
  return text(key, most);
}

int64_t StrictFields::integer(const char* key, int64_t low, int64_t high) {
  const Json& value = required(key);
  if (!value.is_number_integer() ||
      (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) ||
      value.get<int64_t>() < low || value.get<int64_t>() > high)
    refuse(key,
           fmt::format("expected an integer from {} to {}, got {}", low, high, type_word(value)));
  return value.get<int64_t>();
}

int64_t StrictFields::integer_or(const char* key, int64_t missing, int64_t low, int64_t high) {
  if (find(key) == nullptr) return missing;
  return integer(key, low, high);
}

uint64_t StrictFields::unsigned_integer_or(const char* key, uint64_t missing) {
  const Json* value = find(key);
  if (value == nullptr) return missing;
  if (!value->is_number_unsigned() && !(value->is_number_integer() && value->get<int64_t>() >= 0))
    refuse(key, "expected an integer of at least 0, got " + type_word(*value));
  return value->get<uint64_t>();
}

double StrictFields::number_or(const char* key, double missing, double low, double high) {
  const Json* value = find(key);
  if (value == nullptr) return missing;
  if (!value->is_number()) refuse(key, "expected a number, got " + type_word(*value));
  const double number = value->get<double>();
  if (low <= high && !(number >= low && number <= high))
    refuse(key, fmt::format("expected a number from {} to {}, got {}", low, high, number));
  return number;
}

bool StrictFields::boolean_or(const char* key, bool missing) {
  const Json* value = find(key);
  if (value == nullptr) return missing;
  if (!value->is_boolean()) refuse(key, "expected true or false, got " + type_word(*value));
  return value->get<bool>();
}

std::vector<double> StrictFields::numbers(const char* key, size_t most, bool nan_allowed) {
  const Json& value = required(key);
  if (!value.is_array()) refuse(key, "expected an array of numbers, got " + type_word(value));
  if (value.size() > most)
    refuse(key, fmt::format("expected at most {} numbers, got {}", most, value.size()));
  std::vector<double> list;
  list.reserve(value.size());
  for (const Json& item : value) {
    if (item.is_number())
      list.push_back(item.get<double>());
    else if (item.is_null() && nan_allowed)
      list.push_back(std::numeric_limits<double>::quiet_NaN());
    else
      refuse(key, "expected numbers, got " + type_word(item));
  }
  return list;
}

std::vector<int64_t> StrictFields::integers(const char* key, int64_t low, int64_t high,
                                            size_t most) {
  const Json& value = required(key);
  if (!value.is_array()) refuse(key, "expected an array of integers, got " + type_word(value));
  if (value.size() > most)
    refuse(key, fmt::format("expected at most {} integers, got {}", most, value.size()));
  std::vector<int64_t> list;
  list.reserve(value.size());
  for (const Json& item : value) {
    if (!item.is_number_integer() ||
        (item.is_number_unsigned() && item.get<uint64_t>() > uint64_t{INT64_MAX}) ||
        item.get<int64_t>() < low || item.get<int64_t>() > high)
      refuse(key,
             fmt::format("expected integers from {} to {}, got {}", low, high, type_word(item)));
    list.push_back(item.get<int64_t>());
  }
  return list;
}

void StrictFields::skip(const char* key) { seen_.emplace_back(key); }

std::vector<std::string> StrictFields::rest() const {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : json_.items())
    if (std::find(seen_.begin(), seen_.end(), key) == seen_.end()) unknown.push_back(key);
  return unknown;
}

void StrictFields::finish() const {
  const std::vector<std::string> unknown = rest();
  if (unknown.empty()) return;
  const std::string near = nearest_word(unknown.front(), seen_);
  throw Error(stage_, code_, fmt::format("{}: unknown key {}", where_, quote(unknown.front())),
              near.empty() ? std::string() : fmt::format("did you mean \"{}\"?", near));
}

}  // namespace flashmorph
