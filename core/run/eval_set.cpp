// SPDX-License-Identifier: Apache-2.0
#include "core/run/eval_set.h"

#include <algorithm>
#include <string_view>

#include <fmt/format.h>

#include "core/run/digest.h"
#include "core/run/strict_json.h"

namespace flashmorph {

namespace {

constexpr int64_t kMaxLength = int64_t{1} << 24;
constexpr int64_t kMaxTrials = 65535;  // u16 in the run file
constexpr size_t kMaxAxis = 1024;
constexpr size_t kMaxTrialScores = size_t{1} << 24;

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 64 && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '_' || c == '-';
         });
}

template <typename T>
bool rises(const std::vector<T>& values) {
  return std::adjacent_find(values.begin(), values.end(), [](T a, T b) { return a >= b; }) ==
         values.end();
}

}  // namespace

nlohmann::json EvalSet::to_json() const {
  return {{"name", name},     {"task", task}, {"lengths", lengths}, {"depths", depths},
          {"trials", trials}, {"seed", seed}, {"strings", strings}};
}

EvalSet EvalSet::from_json(const nlohmann::json& json, const std::string& where) {
  StrictFields fields(json, where, "eval", ErrorCode::bad_request);
  EvalSet set;
  set.name = fields.text_or("name", "", 64);
  if (!set.name.empty() && !is_name(set.name))
    fields.refuse("name", "expected letters, digits, '.', '_', '-', got " + quote(set.name));
  set.task = fields.text_or("task", set.task, 64);
  if (set.task != "passkey" && set.task != "needle")
    fields.refuse("task", "expected passkey or needle, got " + quote(set.task));
  if (fields.has("lengths")) set.lengths = fields.integers("lengths", 1, kMaxLength, kMaxAxis);
  if (set.lengths.empty() || !rises(set.lengths))
    fields.refuse("lengths", "expected at least one length, in rising order");
  fields.skip("lengths");
  if (fields.has("depths")) set.depths = fields.numbers("depths", kMaxAxis);
  if (set.depths.empty() || !rises(set.depths) ||
      !(set.depths.front() >= 0.0 && set.depths.back() <= 1.0))
    fields.refuse("depths", "expected at least one depth from 0 to 1, in rising order");
  fields.skip("depths");
  set.trials = static_cast<int>(fields.integer_or("trials", set.trials, 1, kMaxTrials));
  if (set.lengths.size() * set.depths.size() * static_cast<size_t>(set.trials) > kMaxTrialScores)
    fields.refuse("trials", fmt::format("{} x {} x {} trials are too many", set.lengths.size(),
                                        set.depths.size(), set.trials));
  set.seed = fields.unsigned_integer_or("seed", set.seed);
  if (fields.has("strings")) set.strings = fields.required("strings");
  fields.skip("strings");
  StrictFields strings(set.strings, where + ": strings", "eval", ErrorCode::bad_request);
  for (const std::string& key : strings.rest()) strings.text(key.c_str(), 65536);
  fields.finish();
  return set;
}

EvalSet EvalSet::parse(const std::string& json_text, const std::string& where) {
  return from_json(read_strict_json(json_text, where, "eval", ErrorCode::bad_request), where);
}

std::string EvalSet::hash() const {
  nlohmann::json content = to_json();
  content.erase("name");
  return sha256_hex(content.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string EvalSet::id() const {
  return name.empty() ? fmt::format("{}-{}", task, hash().substr(0, 8)) : name;
}

}  // namespace flashmorph
