// SPDX-License-Identifier: Apache-2.0
// The truth of window_attention: one query after the other over the tokens it sees.
#include "kernels/chunks.h"
#include "kernels/window_attention_forms.h"

namespace flashmorph::kernels {

at::Tensor window_attention_naive(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  int64_t sink, int64_t window, double scale) {
  const auto type = state_type(v);
  const int64_t T = q.size(1), S = k.size(1), repeat = q.size(2) / k.size(2);
  const at::Tensor keys = k.to(type).repeat_interleave(repeat, 2);
  const at::Tensor values = v.to(type).repeat_interleave(repeat, 2);
  std::vector<at::Tensor> outputs;
  for (int64_t t = 0; t < T; ++t) {
    const int64_t position = S - T + t;
    const int64_t from = std::max<int64_t>(0, position - window + 1);
    const at::Tensor near = at::arange(from, position + 1, k.options().dtype(at::kLong));
    const at::Tensor first = at::arange(std::min(sink, from), near.options());
    const at::Tensor seen = at::cat({first, near});
    const at::Tensor query = q.select(1, t).to(type).unsqueeze(1);                   // [B, 1, H, K]
    const at::Tensor scores = (query * keys.index_select(1, seen)).sum(-1) * scale;  // [B, j, H]
    const at::Tensor weights = at::softmax(scores, 1).unsqueeze(-1);
    outputs.push_back((weights * values.index_select(1, seen)).sum(1));
  }
  return at::stack(outputs, 1).to(v.scalar_type());
}

}  // namespace flashmorph::kernels
