// SPDX-License-Identifier: Apache-2.0
#include "core/eval/row_scores.h"

#include "core/run/error.h"

namespace flashmorph {

namespace {
constexpr int64_t kSlice_rows = 256;
}

RowScores score_rows(const Teacher& teacher, const at::Tensor& states, const at::Tensor& labels,
                     const at::Tensor& reference, const StopFlag* stop) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> nll, right, kl;
  for (int64_t first = 0; first < states.size(0); first += kSlice_rows) {
    if (stop && stop->is_set())
      throw Error("eval", ErrorCode::stopped, "the evaluation was stopped");
    const int64_t n = std::min(kSlice_rows, states.size(0) - first);
    const at::Tensor label = labels.narrow(0, first, n);
    const at::Tensor log_q =
        at::log_softmax(teacher.logits(states.narrow(0, first, n)).to(at::kFloat), -1);
    nll.push_back(-log_q.gather(-1, label.unsqueeze(-1)).squeeze(-1));
    right.push_back(log_q.argmax(-1) == label);
    if (reference.defined()) {
      const at::Tensor log_p =
          at::log_softmax(teacher.logits(reference.narrow(0, first, n)).to(at::kFloat), -1);
      kl.push_back((log_p.exp() * (log_p - log_q)).sum(-1));
    }
  }
  const auto join = [](const std::vector<at::Tensor>& parts, at::ScalarType type) {
    return parts.empty() ? at::empty({0}, type) : at::cat(parts).to(at::kCPU).to(type);
  };
  return {join(nll, at::kDouble), join(right, at::kBool),
          reference.defined() ? join(kl, at::kDouble) : at::Tensor()};
}

}  // namespace flashmorph
