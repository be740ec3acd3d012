// SPDX-License-Identifier: Apache-2.0
#include "core/train/gate_trace.h"

#include <algorithm>

namespace flashmorph {

std::string GateTrace::add(const std::vector<double>& alpha, const std::vector<double>& raw) {
  alpha_.push_back(alpha);
  raw_.push_back(raw);
  history_.add(size(), alpha, raw);
  const std::string found = size() % std::max<int64_t>(steps_ / 100, 1) == 0 ? ill() : "";
  if (notice_.empty()) notice_ = found;
  return found;
}

std::string GateTrace::ill() {
  for (const GateNotice& notice : gate_notices(history_, steps_, static_cast<int>(budget_))) {
    // That the layers are settled is told once, by their order or by the set.
    const bool settled = notice.kind == GateNoticeKind::order_unchanged ||
                         notice.kind == GateNoticeKind::kept_unchanged;
    if (settled && budget_ == 0) continue;
    if (told_.insert(settled ? GateNoticeKind::kept_unchanged : notice.kind).second)
      return notice.message;
  }
  return {};
}

std::vector<double> GateTrace::late_mean(int64_t first, int64_t end) const {
  end = std::min(end, size());
  const int64_t window = std::max<int64_t>((end - first) / 5, 1);
  if (end - window < first) return {};
  std::vector<double> mean(static_cast<size_t>(layers_), 0.0);
  for (int64_t step = end - window; step < end; ++step)
    for (size_t l = 0; l < mean.size(); ++l) mean[l] += alpha_[static_cast<size_t>(step)][l];
  for (double& one : mean) one /= static_cast<double>(window);
  return mean;
}

}  // namespace flashmorph
