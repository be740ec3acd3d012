// SPDX-License-Identifier: Apache-2.0
// An eval set: task, lengths, depths, trials, seed and strings. Two plans measured on the same set
// are paired trial by trial.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/run/recall_grid.h"

namespace flashmorph {

struct EvalSet {
  std::string name;  ///< key in the run file and on the wire, as "needle-2": [A-Za-z0-9._-]{1,64}
  std::string task = "passkey";                      ///< passkey | needle
  std::vector<int64_t> lengths = {512, 1024, 2048};  ///< tokens, rising
  std::vector<double> depths = {0.0, 0.25, 0.5, 0.75,
                                1.0};  ///< 0..1, rising; 0 = start of the context
  int trials = 16;                     ///< prompts per cell
  uint64_t seed = 1;  ///< trial r of cell (n, d) is a pure function of (set, seed, n, d, r)
  nlohmann::json strings =
      nlohmann::json::object();  ///< wording of prompt, needle, question; empty: the task's own

  nlohmann::json to_json() const;
  /// Strict: unknown keys, wrong types and ranges are refused naming the field. where: file or
  /// request named in the sentence.
  static EvalSet from_json(const nlohmann::json& json, const std::string& where);
  static EvalSet parse(const std::string& json_text, const std::string& where);

  /// SHA-256 (hex) of everything but the name: what evaluations are cached under.
  std::string hash() const;
  /// name if given, else task and the first 8 digits of the hash, as "passkey-1f0c22ab".
  std::string id() const;
  RecallGrid empty_grid() const { return {lengths, depths, trials}; }
};

}  // namespace flashmorph
