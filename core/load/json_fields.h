// SPDX-License-Identifier: Apache-2.0
// Typed fields of a JSON object; null counts as absent, a wrong type is refused by name.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

namespace flashmorph {

class JsonFields {
 public:
  /// object: outlives this; where: file named in sentences; prefix: of field names, as
  /// "rope_scaling.".
  JsonFields(const nlohmann::json& object, std::string where, std::string prefix = {})
      : object_(object), where_(std::move(where)), prefix_(std::move(prefix)) {}

  /// The member, or null when it is absent or null.
  const nlohmann::json* find(const std::string& key) const;
  std::optional<int64_t> integer(const std::string& key) const;
  std::optional<double> number(const std::string& key) const;  ///< finite
  std::optional<bool> boolean(const std::string& key) const;
  std::optional<std::string> text(const std::string& key) const;
  [[noreturn]] void refuse(const std::string& key, const std::string& reason) const;

 private:
  const nlohmann::json& object_;
  std::string where_, prefix_;
};

}  // namespace flashmorph
