// SPDX-License-Identifier: Apache-2.0
// Checks at the door of every kernel: device, dtype, rank, sizes, each with its own sentence.
#pragma once

#include <optional>

#include <ATen/ATen.h>

namespace flashmorph::kernels {

/// Throws unless `tensor` is a strided floating-point tensor of exactly `sizes` on `device`; -1
/// leaves a size free.
void check_tensor(const char* function, const char* name, const at::Tensor& tensor,
                  at::IntArrayRef sizes, const at::Device& device);
/// The same for a tensor that may be absent.
void check_tensor(const char* function, const char* name, const std::optional<at::Tensor>& tensor,
                  at::IntArrayRef sizes, const at::Device& device);
/// Throws unless `tensor` has the dtype of `other`.
void check_same_type(const char* function, const char* name, const at::Tensor& tensor,
                     const char* other_name, const at::Tensor& other);
/// q, k: [B, T, H, K], v: [B, T, H, V], beta: [B, T, H], state: [B, H, K, V]; T at least 1.
void check_recurrence(const char* function, const at::Tensor& q, const at::Tensor& k,
                      const at::Tensor& v, const std::optional<at::Tensor>& beta,
                      const std::optional<at::Tensor>& state);
/// True when autograd is on and one of the tensors wants a gradient.
bool wants_gradient(std::initializer_list<std::optional<at::Tensor>> tensors);

}  // namespace flashmorph::kernels
