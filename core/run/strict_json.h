// SPDX-License-Identifier: Apache-2.0
// JSON of unknown origin: size, nesting, doubled keys and encoding are checked; every field is
// fetched with its type and range.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/run/error.h"

namespace flashmorph {

struct StrictLimits {
  size_t bytes = size_t{4} << 20;
  int depth = 32;
};

/// The value of text. Throws Error(stage, code) "WHERE: ..." for anything but one valid value
/// within the limits.
nlohmann::json read_strict_json(std::string_view text, const std::string& where,
                                const std::string& stage, ErrorCode code,
                                const StrictLimits& limits = {});

/// Printable, at most `most` bytes, in double quotes: for naming foreign text in a sentence.
std::string quote(std::string_view text, size_t most = 60);
/// "a boolean", "a string", ...: what a JSON value is, for a sentence.
std::string type_word(const nlohmann::json& json);
/// The known word nearest to `word` (at most about a third of its letters wrong), or nothing.
std::string nearest_word(const std::string& word, const std::vector<std::string>& known);

/// An object whose fields are fetched one by one; finish() refuses what was not fetched. Every
/// sentence is "WHERE: field: what".
class StrictFields {
 public:
  /// Throws unless json is an object. Keeps a reference to json.
  StrictFields(const nlohmann::json& json, std::string where, std::string stage, ErrorCode code);

  bool has(const char* key) const;  ///< there and not null
  const nlohmann::json& required(const char* key);
  std::string text(const char* key, size_t most = 4096);
  std::string text_or(const char* key, const std::string& missing, size_t most = 4096);
  int64_t integer(const char* key, int64_t low, int64_t high);
  int64_t integer_or(const char* key, int64_t missing, int64_t low, int64_t high);
  uint64_t unsigned_integer_or(const char* key, uint64_t missing);
  double number_or(const char* key, double missing, double low,
                   double high);  ///< null reads as NaN only if low > high
  bool boolean_or(const char* key, bool missing);
  /// Array of numbers; null elements are NaN when nan_allowed.
  std::vector<double> numbers(const char* key, size_t most, bool nan_allowed = false);
  std::vector<int64_t> integers(const char* key, int64_t low, int64_t high, size_t most);
  /// Marks a key as known without reading it.
  void skip(const char* key);
  /// Throws naming the first key that was not fetched, with the nearest known one.
  void finish() const;
  /// Keys not fetched.
  std::vector<std::string> rest() const;
  [[noreturn]] void refuse(const std::string& key, const std::string& what) const;

 private:
  const nlohmann::json* find(const char* key);

  const nlohmann::json& json_;
  std::string where_, stage_;
  ErrorCode code_;
  std::vector<std::string> seen_;
};

}  // namespace flashmorph
