// SPDX-License-Identifier: Apache-2.0
// What the kernel tests share: random inputs, relative errors, and memory poisoned with NaN.
#pragma once

#include <functional>
#include <limits>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

namespace flashmorph::kernels {

/// RMS of the difference over RMS of the reference; infinite when a value of `got` is not finite.
inline double relative_error(const at::Tensor& got, const at::Tensor& reference) {
  const at::Tensor a = got.detach().to(at::kCPU, at::kDouble);
  const at::Tensor b = reference.detach().to(at::kCPU, at::kDouble);
  if (a.sizes() != b.sizes() || !a.isfinite().all().item<bool>())
    return std::numeric_limits<double>::infinity();
  return ((a - b).norm() / (b.norm() + 1e-30)).item<double>();
}

inline double largest_difference(const at::Tensor& got, const at::Tensor& reference) {
  if (got.sizes() != reference.sizes()) return std::numeric_limits<double>::infinity();
  const double worst = (got.detach().to(at::kDouble) - reference.detach().to(at::kDouble))
                           .abs()
                           .max()
                           .item<double>();
  return worst == worst ? worst : std::numeric_limits<double>::infinity();
}

/// Leaves NaN in the memory that the next allocations of these sizes will get, so that a value
/// nobody wrote shows.
inline void poison(const std::vector<at::Tensor>& like) {
  std::vector<at::Tensor> blocks;
  for (int copy = 0; copy < 4; ++copy)
    for (const auto& x : like)
      blocks.push_back(at::full_like(x.detach(), std::numeric_limits<double>::quiet_NaN(),
                                     at::MemoryFormat::Contiguous));
}

/// A function of named leaves that returns tensors; `run` gives its outputs and the gradients of
/// sum_i <output_i, weight_i>.
struct Case {
  std::vector<std::string> names;
  std::vector<at::Tensor> leaves;
};

struct Evaluation {
  std::vector<at::Tensor> outputs, gradients;
};

using Op = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>&)>;

/// weights: one per output, undefined where that output takes no part in the loss.
inline Evaluation run(const Op& op, const std::vector<at::Tensor>& leaves,
                      const std::vector<at::Tensor>& weights) {
  std::vector<at::Tensor> inputs;
  for (const auto& leaf : leaves) inputs.push_back(leaf.detach().clone().requires_grad_(true));
  poison(inputs);
  Evaluation result;
  result.outputs = op(inputs);
  std::vector<at::Tensor> used, grads;
  for (size_t i = 0; i < weights.size(); ++i)
    if (weights[i].defined()) {
      used.push_back(result.outputs[i]);
      grads.push_back(weights[i].to(result.outputs[i].scalar_type()));
    }
  poison(inputs);
  result.gradients = torch::autograd::grad(used, inputs, grads, /*retain_graph=*/false,
                                           /*create_graph=*/false, /*allow_unused=*/true);
  for (auto& output : result.outputs) output = output.detach();
  return result;
}

}  // namespace flashmorph::kernels
