// SPDX-License-Identifier: Apache-2.0
// Inside of the fast CPU form of scalar_decay: rows of one head, decay factors of a chunk, write
// weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>

#include <ATen/ATen.h>

namespace flashmorph::kernels {

inline constexpr int64_t chunk_tokens = 64;

struct Sizes {
  int64_t B, T, H, K, V;
};

inline Sizes sizes_of(const at::Tensor& q, const at::Tensor& v) {
  return {q.size(0), q.size(1), q.size(2), q.size(3), v.size(3)};
}

// Rows of one head: token t at data + t * stride.
template <typename Value>
struct Rows {
  Value* data;
  int64_t stride;
};

template <typename Value>
Rows<const Value> rows_of(const at::Tensor& x, int64_t b, int64_t h) {  // [B, T, H, D], contiguous
  const int64_t stride = x.size(2) * x.size(3);
  return {x.const_data_ptr<Value>() + b * x.size(1) * stride + h * x.size(3), stride};
}

template <typename Value>
Rows<Value> rows_to_write(at::Tensor& x, int64_t b, int64_t h) {
  const int64_t stride = x.size(2) * x.size(3);
  return {x.mutable_data_ptr<Value>() + b * x.size(1) * stride + h * x.size(3), stride};
}

// `count` rows from token `first` on as packed float32 [count, width].
template <typename Value>
void load(const Rows<const Value>& rows, int64_t first, int64_t count, int64_t width, float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const Value* row = rows.data + (first + i) * rows.stride;
    for (int64_t d = 0; d < width; ++d) out[i * width + d] = static_cast<float>(row[d]);
  }
}

template <typename Value>
void store(const float* in, int64_t first, int64_t count, int64_t width, const Rows<Value>& rows) {
  for (int64_t i = 0; i < count; ++i) {
    Value* row = rows.data + (first + i) * rows.stride;
    for (int64_t d = 0; d < width; ++d) row[d] = static_cast<Value>(in[i * width + d]);
  }
}

inline void scale_rows(const float* in, const float* factors, float factor, int64_t count,
                       int64_t width, float* out, int64_t stride) {
  for (int64_t i = 0; i < count; ++i) {
    const float f = factors[i] * factor;
    for (int64_t d = 0; d < width; ++d) out[i * stride + d] = in[i * width + d] * f;
  }
}

// Decay factors of one chunk, built by multiplying factors in (0, 1] only: E_ij = prod of a over
// (j, i], entry_i = prod over [0, i], exit_i = prod over (i, count). No sum of logarithms can
// overflow or cancel.
struct ChunkFactors {
  float pairs[chunk_tokens * chunk_tokens];  // [count, count], zero above the diagonal
  float entry[chunk_tokens], exit[chunk_tokens];
  float total = 1;
  int64_t count = 0;

  void build(const float* a, int64_t tokens) {
    count = tokens;
    for (int64_t i = 0; i < count; ++i) {
      float* row = pairs + i * count;
      const float* above = row - count;
      for (int64_t j = 0; j < i; ++j) row[j] = above[j] * a[i];
      row[i] = 1;
      std::fill(row + i + 1, row + count, 0.0F);
      entry[i] = i == 0 ? a[0] : entry[i - 1] * a[i];
    }
    exit[count - 1] = 1;
    for (int64_t i = count - 1; i > 0; --i) exit[i - 1] = exit[i] * a[i];
    total = entry[count - 1];
  }
};

// The decays a = e^{log_decay} of the tokens of one head; a fixed or absent decay gives the same
// factors in every full chunk.
class HeadDecay {
 public:
  HeadDecay(const std::optional<at::Tensor>& log_decay, int64_t b, int64_t h) {
    if (!log_decay) return;
    fixed_ = log_decay->dim() == 1;
    if (fixed_) {
      value_ = std::exp(log_decay->const_data_ptr<float>()[h]);
    } else {
      stride_ = log_decay->size(2);
      data_ = log_decay->const_data_ptr<float>() + b * log_decay->size(1) * stride_ + h;
    }
  }
  void build(int64_t first, int64_t count, ChunkFactors& factors) const {
    if (fixed_ && factors.count == count) return;
    float a[chunk_tokens];
    for (int64_t i = 0; i < count; ++i)
      a[i] = fixed_ ? value_ : std::exp(data_[(first + i) * stride_]);
    factors.build(a, count);
  }

 private:
  bool fixed_ = true;
  float value_ = 1;
  const float* data_ = nullptr;
  int64_t stride_ = 0;
};

// Write weights of one head, 1 where absent.
class HeadBeta {
 public:
  HeadBeta(const std::optional<at::Tensor>& beta, int64_t b, int64_t h) {
    if (!beta) return;
    stride_ = beta->size(2);
    data_ = beta->const_data_ptr<float>() + b * beta->size(1) * stride_ + h;
  }
  bool given() const { return data_ != nullptr; }
  void load(int64_t first, int64_t count, float* out) const {
    for (int64_t i = 0; i < count; ++i) out[i] = data_ ? data_[(first + i) * stride_] : 1.0F;
  }

 private:
  const float* data_ = nullptr;
  int64_t stride_ = 0;
};

inline std::optional<at::Tensor> as_float(const std::optional<at::Tensor>& x) {
  if (!x) return {};
  return x->to(at::kFloat).contiguous();
}

// Calls work(Value()) with the type of the inputs, one of the narrow ones.
template <typename Work>
void with_type(at::ScalarType type, const Work& work) {
  if (type == at::kFloat)
    work(float());
  else if (type == at::kBFloat16)
    work(at::BFloat16());
  else
    work(at::Half());
}

}  // namespace flashmorph::kernels
