// SPDX-License-Identifier: Apache-2.0
#include "kernels/checks.h"

#include <sstream>

namespace flashmorph::kernels {
namespace {

std::string shape_text(at::IntArrayRef sizes) {
  std::ostringstream text;
  text << '[';
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (i > 0) text << ", ";
    if (sizes[i] < 0)
      text << "any";
    else
      text << sizes[i];
  }
  text << ']';
  return text.str();
}

}  // namespace

void check_tensor(const char* function, const char* name, const at::Tensor& tensor,
                  at::IntArrayRef sizes, const at::Device& device) {
  TORCH_CHECK(tensor.defined(), "[", function, "] ", name, ": expected a tensor, got none");
  TORCH_CHECK(tensor.device() == device, "[", function, "] ", name, ": expected device ", device,
              ", got ", tensor.device());
  TORCH_CHECK(tensor.layout() == at::kStrided && at::isFloatingType(tensor.scalar_type()), "[",
              function, "] ", name, ": expected a dense floating-point tensor, got ",
              tensor.toString());
  bool fits = tensor.dim() == static_cast<int64_t>(sizes.size());
  for (size_t i = 0; fits && i < sizes.size(); ++i)
    fits = sizes[i] < 0 || sizes[i] == tensor.size(static_cast<int64_t>(i));
  TORCH_CHECK(fits, "[", function, "] ", name, ": expected shape ", shape_text(sizes), ", got ",
              shape_text(tensor.sizes()));
}

void check_tensor(const char* function, const char* name, const std::optional<at::Tensor>& tensor,
                  at::IntArrayRef sizes, const at::Device& device) {
  if (tensor) check_tensor(function, name, *tensor, sizes, device);
}

void check_same_type(const char* function, const char* name, const at::Tensor& tensor,
                     const char* other_name, const at::Tensor& other) {
  TORCH_CHECK(tensor.scalar_type() == other.scalar_type(), "[", function, "] ", name,
              ": expected the dtype of ", other_name, ", ", other.scalar_type(), ", got ",
              tensor.scalar_type());
}

void check_recurrence(const char* function, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v, const std::optional<at::Tensor>& beta,
                      const std::optional<at::Tensor>& state) {
  TORCH_CHECK(q.defined(), "[", function, "] q: expected a tensor, got none");
  const at::Device device = q.device();
  check_tensor(function, "q", q, {-1, -1, -1, -1}, device);
  const int64_t B = q.size(0), T = q.size(1), H = q.size(2), K = q.size(3);
  TORCH_CHECK(q.numel() > 0, "[", function, "] q: expected at least one token, got shape ",
              q.sizes());
  check_tensor(function, "k", k, {B, T, H, K}, device);
  check_tensor(function, "v", v, {B, T, H, -1}, device);
  TORCH_CHECK(v.size(3) > 0, "[", function, "] v: expected at least one channel, got shape ",
              v.sizes());
  check_same_type(function, "k", k, "q", q);
  check_same_type(function, "v", v, "q", q);
  check_tensor(function, "beta", beta, {B, T, H}, device);
  check_tensor(function, "state", state, {B, H, K, v.size(3)}, device);
}

bool wants_gradient(std::initializer_list<std::optional<at::Tensor>> tensors) {
  if (!at::GradMode::is_enabled()) return false;
  for (const auto& tensor : tensors)
    if (tensor && tensor->defined() && tensor->requires_grad()) return true;
  return false;
}

}  // namespace flashmorph::kernels
