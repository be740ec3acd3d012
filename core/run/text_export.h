// SPDX-License-Identifier: Apache-2.0
// A run as CSV or JSON tables in long form, one observation a row, units in the column names.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/run/run_record.h"

namespace flashmorph {

using TableValue =
    std::variant<std::monostate, int64_t, double, std::string>;  ///< monostate and NaN: missing

struct Table {
  std::vector<std::string> columns;  ///< "length_tokens", "nll_nats_per_token", ...
  std::vector<std::vector<TableValue>> rows;

  /// RFC 4180 with "\n"; numbers with 9 digits, missing values empty. Text that a spreadsheet would
  /// run as a formula gets a leading apostrophe.
  std::string to_csv() const;
  /// Array of objects; missing values null.
  nlohmann::json to_json() const;
};

Table gates_table(const RunRecord& record);         ///< step, tokens, layer, alpha, raw, penalty
Table steps_table(const RunRecord& record);         ///< step, tokens, time_s, lr, quantity, value
Table layer_errors_table(const RunRecord& record);  ///< layer, relative_error
Table layer_loss_table(const RunRecord& record);    ///< step, layer, loss
Table scores_table(const RunRecord& record);        ///< layer, score, tie_break, rank, method
Table plans_table(
    const RunRecord& record);  ///< plan_id, name, origin, plan, budget, layer, full, lock
/// set, plan_id, plan, weights, length_tokens, depth_percent, trials, hits, score, hit_rate_low,
/// hit_rate_high, nll_nats_per_token
Table recall_table(const RunRecord& record);

/// The tables by name: gates, steps, layer_errors, layer_loss, scores, plans, recall.
/// Throws Error(bad_request) listing them.
Table table_of(const RunRecord& record, const std::string& name);
const std::vector<std::string>& table_names();

}  // namespace flashmorph
