// SPDX-License-Identifier: Apache-2.0
#include "core/train/row_cross_entropy.h"

#include <algorithm>

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include "core/run/error.h"

namespace flashmorph {

namespace {

struct RowCrossEntropy : torch::autograd::Function<RowCrossEntropy> {
  static at::Tensor forward(torch::autograd::AutogradContext* ctx, const at::Tensor& states,
                            const at::Tensor& labels, const Teacher* teacher, const StopFlag* stop,
                            int64_t chunk) {
    const int64_t n = states.size(0);
    const bool gradient = states.requires_grad();
    at::Tensor total = at::zeros({}, states.options().dtype(at::kFloat));
    std::vector<at::Tensor> gradients;
    for (int64_t first = 0; first < n; first += chunk) {
      if (stop && stop->is_set()) throw Error("gates", ErrorCode::stopped, "stopped on request");
      const int64_t end = std::min(first + chunk, n);
      const at::AutoGradMode graph(gradient);
      at::Tensor x = states.slice(0, first, end).detach();
      if (gradient) x.requires_grad_(true);
      const at::Tensor nll = at::cross_entropy_loss(
          teacher->logits(x).to(at::kFloat), labels.slice(0, first, end), {}, at::Reduction::Sum);
      if (gradient) gradients.push_back(torch::autograd::grad({nll}, {x})[0]);
      total += nll.detach();
    }
    const double mean = 1.0 / static_cast<double>(std::max<int64_t>(n, 1));
    if (gradient) ctx->save_for_backward({at::cat(gradients) * mean});
    return total * mean;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* ctx,
                                                 torch::autograd::variable_list gradients) {
    const at::Tensor saved = ctx->get_saved_variables()[0];
    return {saved * gradients[0].to(saved.scalar_type()), at::Tensor(), at::Tensor(), at::Tensor(),
            at::Tensor()};
  }
};

}  // namespace

at::Tensor row_cross_entropy(const Teacher& teacher, const at::Tensor& states,
                             const at::Tensor& labels, const StopFlag* stop, int64_t chunk) {
  return RowCrossEntropy::apply(states, labels, &teacher, stop, chunk);
}

}  // namespace flashmorph
