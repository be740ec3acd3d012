// SPDX-License-Identifier: Apache-2.0
#include "kernels/chunks.h"

#include <limits>

#include "kernels/channel_blocks.h"

namespace flashmorph::kernels {

at::ScalarType state_type(const at::Tensor& v) {
  return v.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

int64_t chunk_length(int64_t T, int64_t multiple) {
  return std::min<int64_t>(64, (T + multiple - 1) / multiple * multiple);
}

at::Tensor to_chunks(const at::Tensor& x, int64_t C, at::ScalarType dtype) {
  const int64_t T = x.size(1), N = (T + C - 1) / C;
  auto sizes = x.sizes().vec();
  std::swap(sizes[1], sizes[2]);
  sizes[2] = N * C;
  at::Tensor out = at::empty(sizes, x.options().dtype(dtype));
  out.narrow(2, 0, T).copy_(x.transpose(1, 2));
  if (T < N * C) out.narrow(2, T, N * C - T).zero_();
  sizes[2] = N;
  sizes.insert(sizes.begin() + 3, C);
  return out.view(sizes);
}

at::Tensor from_chunks(const at::Tensor& x, int64_t T, at::ScalarType dtype) {
  auto sizes = x.sizes().vec();
  sizes[2] *= sizes[3];
  sizes.erase(sizes.begin() + 3);
  const at::Tensor rows = x.reshape(sizes).narrow(2, 0, T).transpose(1, 2);
  return at::empty(rows.sizes(), x.options().dtype(dtype)).copy_(rows);
}

at::Tensor reverse_cumsum(const at::Tensor& x, int64_t dim) {
  return x.flip(dim).cumsum(dim).flip(dim);
}

at::Tensor entry_state(const std::optional<at::Tensor>& state, int64_t B, int64_t H, int64_t K,
                       int64_t V, const at::TensorOptions& options) {
  return state ? state->to(options) : at::zeros({B, H, K, V}, options);
}

ChunkDecay ChunkDecay::per_token(const at::Tensor& log_decay) {
  const int64_t C = log_decay.size(-1);
  const at::Tensor b = log_decay.cumsum(-1);
  const at::Tensor last = b.narrow(-1, C - 1, 1);
  const at::Tensor above = at::ones({C, C}, b.options().dtype(at::kBool)).triu(1);
  ChunkDecay decay;
  decay.entry = b.exp().unsqueeze(-1);
  decay.exit = (last - b).exp().unsqueeze(-1);
  decay.total = last.exp().unsqueeze(-1);
  decay.pairs = (b.unsqueeze(-1) - b.unsqueeze(-2))
                    .masked_fill_(above, -std::numeric_limits<double>::infinity())
                    .exp_();
  return decay;
}

ChunkDecay ChunkDecay::per_channel(const at::Tensor& log_decay) {
  const int64_t C = log_decay.size(-2);
  TORCH_INTERNAL_ASSERT(C % sub_ == 0);
  const at::Tensor b = log_decay.cumsum(-2);
  const at::Tensor last = b.narrow(-2, C - 1, 1);
  ChunkDecay decay;
  decay.entry = b.exp();
  decay.exit = (last - b).exp_();
  decay.total = last.exp().transpose(-1, -2);
  auto sizes = b.sizes().vec();
  sizes.insert(sizes.end() - 2, C / sub_);
  sizes[sizes.size() - 2] = sub_;
  decay.blocks_ = b.view(sizes);
  if (b.is_cpu() && b.scalar_type() == at::kFloat) decay.factors_ = log_decay.exp();
  decay.from_first_ = (decay.blocks_ - decay.blocks_.narrow(-2, 0, 1)).exp_().view(b.sizes());
  for (int64_t first = 0; first < C; first += sub_)
    decay.to_first_.push_back((b.narrow(-2, first, 1) - b.narrow(-2, 0, first)).exp_());
  return decay;
}

namespace {

// [.., C, X] -> [.., C/16, 16, X]
at::Tensor in_blocks(const at::Tensor& x, int64_t sub) {
  auto sizes = x.sizes().vec();
  sizes.insert(sizes.end() - 1, sub);
  sizes[sizes.size() - 3] /= sub;
  return x.reshape(sizes);
}

// The diagonal blocks of [.., C, C] as a view [.., C/16, 16, 16].
at::Tensor diagonal_blocks(const at::Tensor& x, int64_t sub) {
  auto sizes = x.sizes().vec();
  const int64_t n = sizes.back() / sub;
  sizes.resize(sizes.size() - 2);
  sizes.insert(sizes.end(), {n, sub, n, sub});
  return x.view(sizes).diagonal(0, -4, -2).movedim(-1, -3);
}

}  // namespace

at::Tensor ChunkDecay::dot(const at::Tensor& A, const at::Tensor& B) const {
  if (pairs.defined()) return at::matmul(A, B.transpose(-1, -2)).mul_(pairs);
  const int64_t C = A.size(-2);
  auto sizes = A.sizes().vec();
  sizes.back() = C;
  at::Tensor out = at::zeros(sizes, A.options());
  for (int64_t first = sub_; first < C; first += sub_) {
    const at::Tensor later = A.narrow(-2, first, sub_) * from_first_.narrow(-2, first, sub_);
    const at::Tensor earlier =
        B.narrow(-2, 0, first) * to_first_[static_cast<size_t>(first / sub_)];
    out.narrow(-2, first, sub_)
        .narrow(-1, 0, first)
        .copy_(at::matmul(later, earlier.transpose(-1, -2)));
  }
  if (factors_.defined()) {
    block_dot(factors_, A, B, sub_, out);
    return out;
  }
  // Inside a sub-chunk elementwise, one column j at a time, so that memory stays that of A.
  const at::Tensor a = in_blocks(A, sub_), b = in_blocks(B, sub_);
  const at::Tensor diagonal = diagonal_blocks(out, sub_);
  for (int64_t j = 0; j < sub_; ++j) {
    const int64_t left = sub_ - j;
    const at::Tensor decay =
        (blocks_.narrow(-2, j, left) - blocks_.narrow(-2, j, 1)).exp_().mul_(b.narrow(-2, j, 1));
    diagonal.select(-1, j).narrow(-1, j, left).copy_((a.narrow(-2, j, left) * decay).sum(-1));
  }
  return out;
}

at::Tensor ChunkDecay::rows(const at::Tensor& G, const at::Tensor& B) const {
  if (pairs.defined()) return at::matmul(G * pairs, B);
  const int64_t C = B.size(-2);
  at::Tensor out = at::zeros_like(B);
  for (int64_t first = sub_; first < C; first += sub_) {
    const at::Tensor earlier =
        B.narrow(-2, 0, first) * to_first_[static_cast<size_t>(first / sub_)];
    out.narrow(-2, first, sub_)
        .copy_(at::matmul(G.narrow(-2, first, sub_).narrow(-1, 0, first), earlier))
        .mul_(from_first_.narrow(-2, first, sub_));
  }
  if (factors_.defined()) {
    block_rows(factors_, G, B, sub_, out);
    return out;
  }
  const at::Tensor b = in_blocks(B, sub_), out_blocks = in_blocks(out, sub_);
  const at::Tensor diagonal = diagonal_blocks(G, sub_);
  for (int64_t j = 0; j < sub_; ++j) {
    const int64_t left = sub_ - j;
    const at::Tensor decay =
        (blocks_.narrow(-2, j, left) - blocks_.narrow(-2, j, 1)).exp_().mul_(b.narrow(-2, j, 1));
    out_blocks.narrow(-2, j, left)
        .addcmul_(decay, diagonal.select(-1, j).narrow(-1, j, left).unsqueeze(-1));
  }
  return out;
}

at::Tensor ChunkDecay::columns(const at::Tensor& G, const at::Tensor& A) const {
  if (pairs.defined()) return at::matmul((G * pairs).transpose(-1, -2), A);
  const int64_t C = A.size(-2);
  at::Tensor out = at::zeros_like(A);
  for (int64_t first = sub_; first < C; first += sub_) {
    const at::Tensor later = A.narrow(-2, first, sub_) * from_first_.narrow(-2, first, sub_);
    const at::Tensor block = G.narrow(-2, first, sub_).narrow(-1, 0, first);
    out.narrow(-2, 0, first)
        .addcmul_(at::matmul(block.transpose(-1, -2), later),
                  to_first_[static_cast<size_t>(first / sub_)]);
  }
  if (factors_.defined()) {
    block_columns(factors_, G, A, sub_, out);
    return out;
  }
  const at::Tensor a = in_blocks(A, sub_), out_blocks = in_blocks(out, sub_);
  const at::Tensor diagonal = diagonal_blocks(G, sub_);
  for (int64_t j = 0; j < sub_; ++j) {
    const int64_t left = sub_ - j;
    at::Tensor term = (blocks_.narrow(-2, j, left) - blocks_.narrow(-2, j, 1)).exp_();
    term.mul_(a.narrow(-2, j, left)).mul_(diagonal.select(-1, j).narrow(-1, j, left).unsqueeze(-1));
    out_blocks.select(-2, j).add_(term.sum(-2));
  }
  return out;
}

at::Tensor log_decay_gradient(const at::Tensor& read, const at::Tensor& written,
                              const at::Tensor& exit_state, const at::Tensor& d_exit_state,
                              bool per_channel) {
  const int64_t C = read.size(-2);
  at::Tensor db = read - written;
  const at::Tensor last = (exit_state * d_exit_state).sum(-1);
  if (per_channel) {
    db.select(-2, C - 1).add_(last);
    return reverse_cumsum(db, -2);
  }
  db = db.sum(-1);
  db.select(-1, C - 1).add_(last.sum(-1));
  return reverse_cumsum(db, -1);
}

}  // namespace flashmorph::kernels
