// SPDX-License-Identifier: Apache-2.0
// The table of the wire protocol as built: every method with its parameters and the fields of its
// answer (workbench 5). The dispatcher refuses what is not in it; methods.cpp is the reference.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace flashmorph {

/// One parameter or one field of an answer.
struct MethodField {
  std::string name;
  std::string
      type;  ///< text, integer, number, boolean, list, object, any; "?" behind: may be absent
  std::string what;  ///< meaning and unit
};

struct MethodSpec {
  std::string name;
  std::string what;
  std::vector<MethodField> params, result;
  std::string stage;  ///< x.start: the command whose options (run_options) are parameters, too
};

/// Notifications in the same form: params without seq.
struct NotificationSpec {
  std::string name;
  std::string what;
  std::vector<MethodField> params;
  std::string when_full;  ///< what a full outbox does with it: kept, newest, thinned
};

const std::vector<MethodSpec>& methods();
const std::vector<NotificationSpec>& notifications();
/// nullptr for an unknown name.
const MethodSpec* find_method(const std::string& name);

/// Names and types of params against the table. Throws Error("protocol", bad_request) naming the
/// parameter, and the nearest known one; options of a stage are left to run_config_of.
void check_params(const MethodSpec& method, const nlohmann::json& params);

}  // namespace flashmorph
