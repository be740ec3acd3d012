// SPDX-License-Identifier: Apache-2.0
// Blocked form of window_attention and its reverse mode: a block of queries meets only the sink and
// its own window.
#include <limits>

#include "kernels/chunks.h"
#include "kernels/window_attention_forms.h"

namespace flashmorph::kernels {
namespace {

constexpr int64_t block_tokens = 128;

// Heads in front and grouped by key head: q [B, G, H/G, T, K], k [B, G, S, K], v [B, G, S, V].
struct Grouped {
  at::Tensor q, k, v;
};

Grouped group(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const auto type = state_type(v);
  const int64_t B = q.size(0), T = q.size(1), H = q.size(2), K = q.size(3), G = k.size(2);
  return {q.to(type).view({B, T, G, H / G, K}).permute({0, 2, 3, 1, 4}),
          k.to(type).transpose(1, 2).contiguous(), v.to(type).transpose(1, 2).contiguous()};
}

// The keys that the queries [first, first + count) can see: [0, sink_end) and [near, end).
struct Span {
  int64_t sink_end, near, end;
  at::Tensor hidden;  // [count, keys], true where a query must not look

  Span(int64_t first, int64_t count, int64_t offset, int64_t sink, int64_t window,
       const at::TensorOptions& options) {
    near = std::max<int64_t>(0, offset + first - window + 1);
    end = offset + first + count;
    sink_end = std::min(sink, near);
    const auto integers = options.dtype(at::kLong);
    const at::Tensor query = at::arange(offset + first, end, integers).unsqueeze(1);
    const at::Tensor key =
        at::cat({at::arange(sink_end, integers), at::arange(near, end, integers)});
    hidden = key.gt(query).logical_or(key.ge(sink).logical_and(key.le(query - window)));
  }

  at::Tensor take(const at::Tensor& x) const {  // [B, G, S, .] -> [B, G, keys, .]
    const at::Tensor recent = x.narrow(2, near, end - near);
    return sink_end == 0 ? recent : at::cat({x.narrow(2, 0, sink_end), recent}, 2);
  }
  void add(at::Tensor& sum, const at::Tensor& part) const {
    if (sink_end > 0) sum.narrow(2, 0, sink_end).add_(part.narrow(2, 0, sink_end));
    sum.narrow(2, near, end - near).add_(part.narrow(2, sink_end, end - near));
  }
};

// Probabilities of a block: [B, G, H/G * count, keys]. q: [B, G, H/G, count, K], already scaled.
at::Tensor probabilities(const at::Tensor& q, const at::Tensor& keys, const Span& span) {
  const int64_t B = q.size(0), G = q.size(1), R = q.size(2), count = q.size(3);
  const at::Tensor rows = q.reshape({B, G, R * count, q.size(4)});
  at::Tensor scores = at::matmul(rows, keys.transpose(-1, -2));
  scores.view({B, G, R, count, -1})
      .masked_fill_(span.hidden, -std::numeric_limits<double>::infinity());
  return at::softmax(scores, -1);
}

}  // namespace

at::Tensor window_attention_chunk(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  int64_t sink, int64_t window, double scale) {
  const Grouped in = group(q.contiguous(), k, v);
  const int64_t B = q.size(0), T = q.size(1), H = q.size(2), G = k.size(2), V = v.size(3);
  at::Tensor out = at::empty({B, T, H, V}, v.options());
  at::Tensor grouped = out.view({B, T, G, H / G, V}).permute({0, 2, 3, 1, 4});
  for (int64_t first = 0; first < T; first += block_tokens) {
    const int64_t count = std::min(block_tokens, T - first);
    const Span span(first, count, k.size(1) - T, sink, window, k.options());
    const at::Tensor p = probabilities(in.q.narrow(3, first, count) * scale, span.take(in.k), span);
    grouped.narrow(3, first, count)
        .copy_(at::matmul(p, span.take(in.v)).view({B, G, H / G, count, V}));
  }
  return out;
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> window_attention_chunk_backward(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t sink, int64_t window,
    double scale, const at::Tensor& d_output) {
  const Grouped in = group(q.contiguous(), k, v);
  const int64_t B = q.size(0), T = q.size(1), H = q.size(2), K = q.size(3), G = k.size(2),
                R = H / G, V = v.size(3);
  at::Tensor dq = at::empty(q.sizes(), q.options());
  at::Tensor dq_grouped = dq.view({B, T, G, R, K}).permute({0, 2, 3, 1, 4});
  at::Tensor dk = at::zeros_like(in.k), dv = at::zeros_like(in.v);
  const at::Tensor d_grouped = d_output.contiguous().view({B, T, G, R, V}).permute({0, 2, 3, 1, 4});
  for (int64_t first = 0; first < T; first += block_tokens) {
    const int64_t count = std::min(block_tokens, T - first);
    const Span span(first, count, k.size(1) - T, sink, window, k.options());
    const at::Tensor rows = in.q.narrow(3, first, count) * scale;
    const at::Tensor keys = span.take(in.k), values = span.take(in.v);
    const at::Tensor p = probabilities(rows, keys, span);
    const at::Tensor d_rows =
        d_grouped.narrow(3, first, count).to(in.q.scalar_type()).reshape({B, G, R * count, V});
    span.add(dv, at::matmul(p.transpose(-1, -2), d_rows));
    const at::Tensor dp = at::matmul(d_rows, values.transpose(-1, -2));
    const at::Tensor ds = p * (dp - (p * dp).sum(-1, /*keepdim=*/true));
    dq_grouped.narrow(3, first, count)
        .copy_(at::matmul(ds, keys).mul_(scale).view({B, G, R, count, K}));
    span.add(dk, at::matmul(ds.transpose(-1, -2), rows.reshape({B, G, R * count, K})));
  }
  return {dq, dk.transpose(1, 2).to(k.scalar_type()).contiguous(),
          dv.transpose(1, 2).to(v.scalar_type()).contiguous()};
}

}  // namespace flashmorph::kernels
