// SPDX-License-Identifier: Apache-2.0
// A tensor that is made when it is asked for and forgotten afterwards: an export holds a few at a
// time, not the model.
#pragma once

#include <functional>
#include <map>
#include <numeric>
#include <string>
#include <vector>

#include <ATen/ATen.h>

namespace flashmorph {

class LazyTensor {
 public:
  LazyTensor() = default;
  /// One that is there already; shares its memory.
  LazyTensor(const at::Tensor& value)  // NOLINT(google-explicit-constructor)
      : shape_(value.sizes().vec()), make_([value] { return value; }) {}
  /// make: returns a tensor of this shape, any number of times.
  LazyTensor(std::vector<int64_t> shape, std::function<at::Tensor()> make)
      : shape_(std::move(shape)), make_(std::move(make)) {}

  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t numel() const {
    return std::accumulate(shape_.begin(), shape_.end(), int64_t{1}, std::multiplies<>());
  }
  /// Throws what making it throws: Error(bad_file).
  at::Tensor get() const { return make_(); }
  operator at::Tensor() const { return make_(); }  // NOLINT(google-explicit-constructor)

 private:
  std::vector<int64_t> shape_;
  std::function<at::Tensor()> make_;
};

using LazyTensors = std::map<std::string, LazyTensor>;

}  // namespace flashmorph
