// SPDX-License-Identifier: Apache-2.0
// Tokens a second of each stage as measured in this session: what estimates stand on.
#pragma once

#include <cmath>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace flashmorph {

class RateBook {
 public:
  void note(const std::string& model, const std::string& stage, double tokens_per_s) {
    if (!std::isfinite(tokens_per_s) || tokens_per_s <= 0) return;
    const std::lock_guard guard(mutex_);
    rates_[{model, stage}] = tokens_per_s;
  }
  std::optional<double> tokens_per_s(const std::string& model, const std::string& stage) const {
    const std::lock_guard guard(mutex_);
    const auto found = rates_.find({model, stage});
    return found == rates_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, double> rates_;
};

}  // namespace flashmorph
