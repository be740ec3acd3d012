// SPDX-License-Identifier: Apache-2.0
#include "core/load/json_fields.h"

#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/load/text.h"

namespace flashmorph {

const nlohmann::json* JsonFields::find(const std::string& key) const {
  const auto at = object_.find(key);
  return at == object_.end() || at->is_null() ? nullptr : &*at;
}

std::optional<int64_t> JsonFields::integer(const std::string& key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer())
    refuse(key, fmt::format("expected a whole number, got {}", value->type_name()));
  if (value->is_number_unsigned() &&
      value->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    refuse(key, "the number is too large");
  return value->get<int64_t>();
}

std::optional<double> JsonFields::number(const std::string& key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number())
    refuse(key, fmt::format("expected a number, got {}", value->type_name()));
  const auto number = value->get<double>();
  if (!std::isfinite(number)) refuse(key, "the number is not finite");
  return number;
}

std::optional<bool> JsonFields::boolean(const std::string& key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean())
    refuse(key, fmt::format("expected true or false, got {}", value->type_name()));
  return value->get<bool>();
}

std::optional<std::string> JsonFields::text(const std::string& key) const {
  const auto* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string())
    refuse(key, fmt::format("expected a string, got {}", value->type_name()));
  return value->get<std::string>();
}

void JsonFields::refuse(const std::string& key, const std::string& reason) const {
  refuse_file(where_, prefix_ + key, reason);
}

}  // namespace flashmorph
